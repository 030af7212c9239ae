import CCodecs

/// The hashes that the format makes of names and references: always CRC-32C, whatever the
/// checksum of the file system.
package enum FormatHash {
  /// The raw CRC-32C update, without inversion at either end.
  @inline(__always)
  static func update(_ state: UInt32, _ bytes: UnsafeRawBufferPointer) -> UInt32 {
    ccodecs_crc32c(state, bytes.baseAddress, bytes.count)
  }

  /// The standard CRC-32C, as the pages of a v1 free space cache have it.
  package static func crc32c(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
    ~update(~0, bytes)
  }

  /// Key offset of a DIR_ITEM or XATTR_ITEM.
  package static func name(_ name: [UInt8]) -> UInt64 {
    name.withUnsafeBytes { UInt64(update(0xffff_fffe, $0)) }
  }

  /// Key offset of an INODE_EXTREF.
  package static func extendedReference(parent: ObjectID, name: [UInt8]) -> UInt64 {
    name.withUnsafeBytes { UInt64(update(UInt32(truncatingIfNeeded: parent.rawValue), $0)) }
  }

  /// Key offset of an EXTENT_DATA_REF. The shift is 31, not 32.
  package static func dataReference(root: TreeID, inode: ObjectID, offset: UInt64) -> UInt64 {
    let high = withUnsafeBytes(of: root.rawValue.littleEndian) { update(~0, $0) }
    let low = withUnsafeBytes(of: (inode.rawValue.littleEndian, offset.littleEndian)) {
      update(~0, $0)
    }
    return (UInt64(high) << 31) ^ UInt64(low)
  }
}
