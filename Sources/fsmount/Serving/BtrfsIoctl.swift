import FSCore

/// btrfs's own ioctls about subvolumes, as far as they can come through FUSE: the kernel passes on as
/// many bytes as the number of the ioctl says, and none to which these point.
enum BtrfsIoctl {
  static let snapshotCreate: UInt = 0x5000_9401
  static let subvolumeCreate: UInt = 0x5000_940e
  static let subvolumeDestroy: UInt = 0x5000_940f
  static let inodeLookup: UInt = 0xd000_9412
  static let setDefault: UInt = 0x4008_9413
  static let waitSync: UInt = 0x4008_9416
  static let snapshotCreate2: UInt = 0x5000_9417
  static let startSync: UInt = 0x8008_9418
  static let subvolumeCreate2: UInt = 0x5000_9418
  static let getFlags: UInt = 0x8008_9419
  static let setFlags: UInt = 0x4008_941a
  static let filesystemInfo: UInt = 0x8400_941f
  static let subvolumeInfo: UInt = 0x81f8_943c
  static let subvolumeReferences: UInt = 0xd000_943d
  static let subvolumeDestroy2: UInt = 0x5000_943f

  /// Of the flags of a subvolume, and of the arguments with which one is made.
  static let readOnly: UInt64 = 2
  static let byNumber: UInt64 = 0x10

  static let argumentsSize = 4096
}

/// btrfs_ioctl_vol_args: a descriptor, and a name.
struct VolumeArguments {
  var descriptor: Int64
  var name: [UInt8]

  init(_ bytes: UnsafeRawBufferPointer) throws(FilesystemError) {
    descriptor = Int64(bitPattern: try bytes.number(at: 0))
    name = try bytes.name(from: 8)
  }
}

/// btrfs_ioctl_vol_args_v2: a descriptor, a transaction that means nothing any more, flags, four numbers
/// for quotas, and a name or the number of a subvolume.
struct VolumeArguments2 {
  var descriptor: Int64
  var flags: UInt64
  private let bytes: UnsafeRawBufferPointer

  private static let nameOffset = 56

  /// - Parameter known: flags that may be set.
  init(_ bytes: UnsafeRawBufferPointer, known: UInt64) throws(FilesystemError) {
    self.bytes = bytes
    descriptor = Int64(bitPattern: try bytes.number(at: 0))
    flags = try bytes.number(at: 16)
    guard flags & ~known == 0 else {
      throw .unsupported("these flags are not known, or for quotas, which are not kept")
    }
  }

  func name() throws(FilesystemError) -> [UInt8] { try bytes.name(from: Self.nameOffset) }
  func number() throws(FilesystemError) -> UInt64 { try bytes.number(at: Self.nameOffset) }
}

extension UnsafeRawBufferPointer {
  /// A number of 64 bits in the argument of an ioctl.
  func number(at offset: Int) throws(FilesystemError) -> UInt64 {
    guard offset >= 0, offset + 8 <= count else { throw .invalidArgument("too few bytes") }
    return UInt64(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  /// A name that ends with a zero byte, no later than the argument does.
  fileprivate func name(from offset: Int) throws(FilesystemError) -> [UInt8] {
    guard count == BtrfsIoctl.argumentsSize else { throw .invalidArgument("too few bytes") }
    guard let end = self[offset...].firstIndex(of: 0) else { throw .nameTooLong }
    let name = Array(self[offset..<end])
    guard !name.contains(UInt8(ascii: "/")) else { throw .invalidArgument("a name with a slash") }
    return name
  }
}

/// The bytes that an ioctl hands out, as they are put together.
struct IoctlResult {
  private(set) var bytes: [UInt8]

  init(size: Int) { bytes = [UInt8](repeating: 0, count: size) }

  mutating func put(_ value: some FixedWidthInteger & BitwiseCopyable, at offset: Int) {
    bytes.withUnsafeMutableBytes {
      $0.storeBytes(of: value.littleEndian, toByteOffset: offset, as: type(of: value))
    }
  }

  mutating func put(_ uuid: UUIDBytes, at offset: Int) { put(uuid.rawValue, at: offset) }

  mutating func put(_ text: [UInt8], at offset: Int) {
    bytes.replaceSubrange(offset..<(offset + text.count), with: text)
  }

  mutating func put(_ time: Timestamp, at offset: Int) {
    put(time.seconds, at: offset)
    put(time.nanoseconds, at: offset + 8)
  }
}

/// btrfs_ioctl_get_subvol_info_args
enum SubvolumeInfo {
  static func encode(_ record: SubvolumeRecord) -> [UInt8] {
    let item = record.item
    var result = IoctlResult(size: 504)
    result.put(record.id.rawValue, at: 0)
    result.put(Array(record.name.prefix(255)), at: 8)
    result.put(record.parent?.rawValue ?? 0, at: 264)
    result.put(record.directory?.rawValue ?? 0, at: 272)
    result.put(item.generation.rawValue, at: 280)
    result.put(item.flags, at: 288)
    result.put(item.uuid, at: 296)
    result.put(item.parentUUID, at: 312)
    result.put(item.receivedUUID, at: 328)
    result.put(item.lastChange.rawValue, at: 344)
    result.put(item.creationTransaction.rawValue, at: 352)
    result.put(item.sendTransaction, at: 360)
    result.put(item.receiveTransaction, at: 368)
    result.put(item.changeTime, at: 376)
    result.put(item.creationTime, at: 392)
    result.put(item.sendTime, at: 408)
    result.put(item.receiveTime, at: 424)
    return result.bytes
  }
}

/// btrfs_ioctl_get_subvol_rootref_args
enum SubvolumeReferences {
  /// Of what one answer tells.
  static let most = 255

  /// Also says from which number on to ask again. Numbers are what an image says.
  static func encode(
    _ found: [(child: TreeID, directory: ObjectID)], from first: UInt64
  ) -> [UInt8] {
    var result = IoctlResult(size: BtrfsIoctl.argumentsSize)
    var next = first
    for (index, reference) in found.prefix(most).enumerated() {
      result.put(reference.child.rawValue, at: 8 + 16 * index)
      result.put(reference.directory.rawValue, at: 16 + 16 * index)
      next = max(reference.child.rawValue, reference.child.rawValue &+ 1)
    }
    result.put(next, at: 0)
    result.put(UInt8(min(found.count, most)), at: 8 + 16 * most)
    return result.bytes
  }
}
