import FSCore

/// The ioctls that a mount answers.
enum ControlCommand {
  /// btrfs's own: commit now.
  static let synchronize: UInt = 0x9408

  /// FS_IOC_GETFLAGS: what lsattr(1) shows.
  static let getFlags: UInt = 0x8008_6601

  /// Ours: connect to the socket whose address is given, tell it when the mount has ended well, and
  /// keep the connection until the process ends. _IOW(0xf5, 1, 108 bytes).
  static let watchUnmount: UInt = 0x4000_0000 | UInt(watchAddressSize) << 16 | 0xf501
  static let watchAddressSize = 108

  /// The flags of lsattr(1) for those of an inode.
  static func shown(_ flags: InodeFlags) -> Int32 {
    let pairs: [(InodeFlags, Int32)] = [
      (.compress, 0x4), (.sync, 0x8), (.immutable, 0x10), (.append, 0x20), (.noDump, 0x40),
      (.noAtime, 0x80), (.noCompress, 0x400), (.dirSync, 0x10000), (.noDataCow, 0x80_0000),
    ]
    return pairs.reduce(0) { flags.contains($1.0) ? $0 | $1.1 : $0 }
  }
}
