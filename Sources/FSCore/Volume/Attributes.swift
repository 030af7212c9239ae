/// What `stat` shows of an inode.
package struct Attributes: Sendable {
  package var id: InodeID
  package var item: InodeItem
  /// In units of 512 bytes, with what is buffered behind the end of what is on the device. Holes
  /// that are being filled count once they have space.
  package var blocks: UInt64
}
