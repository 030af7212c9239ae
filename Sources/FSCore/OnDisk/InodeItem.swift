import Glibc

/// A point in time as the format keeps it: 12 bytes.
package struct Timestamp: Hashable, Sendable {
  package var seconds: Int64
  package var nanoseconds: UInt32

  package static let size = 12

  package init(seconds: Int64, nanoseconds: UInt32) {
    self.seconds = seconds
    self.nanoseconds = nanoseconds
  }

  package init(_ bytes: RawSpan, at offset: Int) {
    seconds = Int64(bitPattern: bytes.u64(offset))
    nanoseconds = bytes.u32(offset + 8)
  }

  package static var now: Timestamp {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Timestamp(seconds: Int64(time.tv_sec), nanoseconds: UInt32(time.tv_nsec))
  }

  package func encode(into bytes: UnsafeMutableRawBufferPointer, at offset: Int) {
    bytes.store(UInt64(bitPattern: seconds), at: offset)
    bytes.store(nanoseconds, at: offset + 8)
  }
}

/// Flags of an inode; the low 32 bits.
package struct InodeFlags: OptionSet, Hashable, Sendable {
  package let rawValue: UInt64
  package init(rawValue: UInt64) { self.rawValue = rawValue }

  package static let noDataSum = Self(rawValue: 0x1)
  package static let noDataCow = Self(rawValue: 0x2)
  package static let readOnly = Self(rawValue: 0x4)
  package static let noCompress = Self(rawValue: 0x8)
  package static let prealloc = Self(rawValue: 0x10)
  package static let sync = Self(rawValue: 0x20)
  package static let immutable = Self(rawValue: 0x40)
  package static let append = Self(rawValue: 0x80)
  package static let noDump = Self(rawValue: 0x100)
  package static let noAtime = Self(rawValue: 0x200)
  package static let dirSync = Self(rawValue: 0x400)
  package static let compress = Self(rawValue: 0x800)
  package static let known = Self(rawValue: 0x8000_0fff)
}

/// INODE_ITEM, 160 bytes.
package struct InodeItem: Hashable, Sendable {
  package var generation: Generation
  package var transactionID: Generation
  package var size: UInt64
  package var nbytes: UInt64
  package var blockGroup: UInt64 = 0
  package var linkCount: UInt32
  package var uid: UInt32
  package var gid: UInt32
  package var mode: UInt32
  package var rdev: UInt64 = 0
  package var flags: InodeFlags = []
  package var sequence: UInt64 = 0
  package var atime: Timestamp
  package var ctime: Timestamp
  package var mtime: Timestamp
  package var otime: Timestamp

  package static let size = 160

  /// A new inode: empty, one link, all times `now`.
  package init(generation: Generation, mode: UInt32, uid: UInt32, gid: UInt32, now: Timestamp) {
    self.generation = generation
    transactionID = generation
    size = 0
    nbytes = 0
    linkCount = 1
    self.uid = uid
    self.gid = gid
    self.mode = mode
    atime = now
    ctime = now
    mtime = now
    otime = now
  }

  package init(_ bytes: RawSpan) throws(FilesystemError) {
    guard bytes.byteCount == Self.size else {
      throw .corrupt("an inode item of \(bytes.byteCount) bytes")
    }
    generation = Generation(rawValue: bytes.u64(0))
    transactionID = Generation(rawValue: bytes.u64(8))
    size = bytes.u64(0x10)
    nbytes = bytes.u64(0x18)
    blockGroup = bytes.u64(0x20)
    linkCount = bytes.u32(0x28)
    uid = bytes.u32(0x2c)
    gid = bytes.u32(0x30)
    mode = bytes.u32(0x34)
    rdev = bytes.u64(0x38)
    flags = InodeFlags(rawValue: bytes.u64(0x40))
    sequence = bytes.u64(0x48)
    atime = Timestamp(bytes, at: 0x70)
    ctime = Timestamp(bytes, at: 0x7c)
    mtime = Timestamp(bytes, at: 0x88)
    otime = Timestamp(bytes, at: 0x94)
  }

  package func encode(into bytes: UnsafeMutableRawBufferPointer) {
    bytes.store(generation.rawValue, at: 0)
    bytes.store(transactionID.rawValue, at: 8)
    bytes.store(size, at: 0x10)
    bytes.store(nbytes, at: 0x18)
    bytes.store(blockGroup, at: 0x20)
    bytes.store(linkCount, at: 0x28)
    bytes.store(uid, at: 0x2c)
    bytes.store(gid, at: 0x30)
    bytes.store(mode, at: 0x34)
    bytes.store(rdev, at: 0x38)
    bytes.store(flags.rawValue, at: 0x40)
    bytes.store(sequence, at: 0x48)
    bytes.part(0x50, 32).zero()
    atime.encode(into: bytes, at: 0x70)
    ctime.encode(into: bytes, at: 0x7c)
    mtime.encode(into: bytes, at: 0x88)
    otime.encode(into: bytes, at: 0x94)
  }

  package var isDirectory: Bool { mode & 0o170000 == 0o040000 }
  package var isRegular: Bool { mode & 0o170000 == 0o100000 }
  package var isSymbolicLink: Bool { mode & 0o170000 == 0o120000 }
}
