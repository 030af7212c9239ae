/// What an inode is, beside its name and its content: attributes, extended attributes, access
/// control lists, flags. A volume has one.
///
/// 1. Attributes change with the inode's `lock` held, exclusively but for an access time, and under
///    an open transaction handle: rank `inode`, and nothing of a higher rank is held meanwhile.
/// 2. What the inode's flags and its subvolume forbid is refused before anything changes.
/// 3. An access control list and the mode that stands for it change in one transaction; so do the
///    property that names a compression and the flags that stand for it.
package final class AttributeOperations: Sendable {
  let inodes: InodeTable
  let files: FileStore
  let transactions: TransactionManager
  let geometry: Geometry
  let isReadOnly: Bool
  let accessTimes: VolumeOptions.AccessTimes
  let directoryAccessTimes: Bool
  let features: CompressionFeatures
  /// What chattr(1) asks for with `+c`.
  let usualCompression: FileExtentItem.Compression

  init(
    inodes: InodeTable, files: FileStore, transactions: TransactionManager, geometry: Geometry,
    isReadOnly: Bool, features: CompressionFeatures, options: VolumeOptions
  ) {
    self.inodes = inodes
    self.files = files
    self.transactions = transactions
    self.geometry = geometry
    self.isReadOnly = isReadOnly
    accessTimes = options.accessTimes
    directoryAccessTimes = options.directoryAccessTimes
    self.features = features
    usualCompression = options.compression?.method.algorithm ?? .zlib
  }

  /// Throws unless the subvolume of `inode` may be changed.
  func requireWritable(_ inode: Inode) throws(FilesystemError) {
    if isReadOnly { throw .readOnly("the file system is mounted read-only") }
    if inode.subvolume.isReadOnly { throw .readOnly(inode.id.tree.readOnlyHint) }
  }

  func attributes(of inode: Inode) -> Attributes {
    if inode.isStub { inode.followDirectoryAround() }
    let (item, buffered) = inode.attributesAndBytesWithoutSpace
    return Attributes(id: inode.id, item: item, blocks: blocks(of: item, buffered: buffered))
  }

  /// In units of 512 bytes.
  func blocks(of item: InodeItem, buffered: UInt64) -> UInt64 {
    let unit = geometry.sectorSize
    let bytes = (item.nbytes & ~(1 << 63)).roundedUp(to: unit) &+ buffered.roundedUp(to: unit)
    return bytes / 512
  }

  package func attributes(of id: InodeID) throws(FilesystemError) -> Attributes {
    attributes(of: try inodes.inode(id))
  }
}
