import FSCore

/// The ioctls that a mount answers.
enum ControlCommand {
  /// btrfs's own: commit now.
  static let synchronize: UInt = 0x9408

  /// FS_IOC_GETFLAGS and FS_IOC_SETFLAGS, of lsattr(1) and chattr(1).
  static let getFlags: UInt = 0x8008_6601
  static let setFlags: UInt = 0x4008_6602

  /// FS_IOC_FSGETXATTR and FS_IOC_FSSETXATTR: the flags that file systems have in common, with
  /// other numbers.
  static let getCommonFlags: UInt = 0x801c_581f
  static let setCommonFlags: UInt = 0x401c_5820

  /// FS_IOC_SHUTDOWN. Its argument says what is to be durable first, but the ioctl is declared as
  /// one that only hands out, so the kernel does not send it: each is the kind that loses nothing.
  static let shutDown: UInt = 0x8004_587d

  /// FITRIM: discard what is free. Takes and hands out start, length and shortest range, three
  /// numbers of 64 bits.
  static let trim: UInt = 0xc018_5879

  /// Ours: connect to the socket whose address is given, tell it when the mount has ended well, and
  /// keep the connection until the process ends. _IOW(0xf5, 1, 108 bytes).
  static let watchUnmount: UInt = 0x4000_0000 | UInt(watchAddressSize) << 16 | 0xf501
  static let watchAddressSize = 108

  /// Ours: one message of the control channel, there and back. _IOWR(0xf5, 2, 12 KiB).
  static let exchange: UInt = 0xc000_0000 | UInt(ControlFrame.size) << 16 | 0xf502
}

/// What FS_IOC_FSGETXATTR hands out and FS_IOC_FSSETXATTR takes: struct fsxattr of <linux/fs.h>.
/// Of its five numbers only the first, the flags, is for btrfs; the others are 0.
enum CommonFlags {
  static let size = 28
  private static let numbersSize = 20

  private static let numbers: [(FileFlags, UInt32)] = [
    (.immutable, 0x8), (.append, 0x10), (.sync, 0x20), (.noAtime, 0x40), (.noDump, 0x80),
  ]

  static func encode(_ flags: FileFlags) -> [UInt8] {
    let number = numbers.reduce(0 as UInt32) { flags.contains($1.0) ? $0 | $1.1 : $0 }
    return withUnsafeBytes(of: number) { [UInt8]($0) }
      + [UInt8](repeating: 0, count: size - MemoryLayout<UInt32>.size)
  }

  static func decode(_ bytes: UnsafeRawBufferPointer) throws(FilesystemError) -> FileFlags {
    guard bytes.count >= size else { throw .invalidArgument("too few bytes for flags") }
    guard bytes[MemoryLayout<UInt32>.size..<numbersSize].allSatisfy({ $0 == 0 }) else {
      throw .unsupported("btrfs has neither projects nor sizes of extents to choose")
    }
    let number = bytes.loadUnaligned(as: UInt32.self)
    var flags: FileFlags = []
    var rest = number
    for (flag, bit) in numbers where number & bit != 0 {
      flags.insert(flag)
      rest &= ~bit
    }
    guard rest == 0 else { throw .unsupported("btrfs has no such flag") }
    return flags
  }
}
