import Glibc

/// The Linux calls and constants that Glibc's Swift module hides behind `_GNU_SOURCE`.
package enum Linux {
  package static let seekData: Int32 = 3
  package static let seekHole: Int32 = 4
  package static let openDirect: Int32 = 0o40000
  package static let openPath: Int32 = 0o10000000

  package static let fallocateKeepSize: Int32 = 0x01
  package static let fallocatePunchHole: Int32 = 0x02
  package static let fallocateCollapseRange: Int32 = 0x08
  package static let fallocateZeroRange: Int32 = 0x10

  package static let renameNoReplace: UInt32 = 1
  package static let renameExchange: UInt32 = 2
  package static let renameWhiteout: UInt32 = 4

  package static let currentDirectory: Int32 = -100
  package static let noFollow: Int32 = 0x100

  package typealias CPath = UnsafePointer<CChar>

  package static let fallocate: @Sendable @convention(c) (Int32, Int32, Int, Int) -> Int32 = symbol(
    "fallocate")
  package static let renameat2:
    @Sendable @convention(c) (Int32, CPath, Int32, CPath, UInt32) -> Int32 = symbol("renameat2")
  package static let nameToHandle:
    @Sendable @convention(c) (
      Int32, CPath, UnsafeMutableRawPointer, UnsafeMutablePointer<Int32>, Int32
    ) -> Int32 = symbol("name_to_handle_at")
  package static let openByHandle:
    @Sendable @convention(c) (Int32, UnsafeMutableRawPointer, Int32) -> Int32 =
      symbol("open_by_handle_at")
  package static let ioctl:
    @Sendable @convention(c) (Int32, UInt, UnsafeMutableRawPointer) -> Int32 = symbol("ioctl")
  package static let openpty:
    @Sendable @convention(c) (
      UnsafeMutablePointer<Int32>, UnsafeMutablePointer<Int32>, UnsafeMutablePointer<CChar>?,
      UnsafeRawPointer?, UnsafePointer<winsize>?
    ) -> Int32 = symbol("openpty")
  package static let openProcess: @Sendable @convention(c) (pid_t, UInt32) -> Int32 = symbol(
    "pidfd_open")

  private static let setAffinity: @Sendable @convention(c) (Int32, Int, UnsafeRawPointer) -> Int32 =
    symbol("sched_setaffinity")
  private static let getAffinity:
    @Sendable @convention(c) (Int32, Int, UnsafeMutableRawPointer) -> Int32 =
      symbol("sched_getaffinity")

  /// From now on this thread runs on one processor: the first one on which it may.
  package static func stayOnOneProcessor() throws {
    var words = [UInt64](repeating: 0, count: 16)
    let size = words.count * 8
    try check("sched_getaffinity") { getAffinity(0, size, &words) }
    guard let first = words.firstIndex(where: { $0 != 0 }) else { return }
    var one = [UInt64](repeating: 0, count: 16)
    one[first] = 1 << UInt64(words[first].trailingZeroBitCount)
    try check("sched_setaffinity") { setAffinity(0, size, one) }
  }

  package static let syncfs: @Sendable @convention(c) (Int32) -> Int32 = symbol("syncfs")
  package static let lsetxattr:
    @Sendable @convention(c) (CPath, CPath, UnsafeRawPointer?, Int, Int32) -> Int32 =
      symbol("lsetxattr")
  package static let lgetxattr:
    @Sendable @convention(c) (CPath, CPath, UnsafeMutableRawPointer?, Int) -> Int =
      symbol("lgetxattr")
  package static let llistxattr:
    @Sendable @convention(c) (CPath, UnsafeMutablePointer<CChar>?, Int) -> Int =
      symbol("llistxattr")
  package static let lremovexattr: @Sendable @convention(c) (CPath, CPath) -> Int32 =
    symbol("lremovexattr")

  /// FICLONERANGE; 0 or an errno. A length of 0 reaches to the end of the source.
  package static func cloneRange(
    _ source: Int32, at from: UInt64, to target: Int32, at to: UInt64, length: UInt64
  ) -> Int32 {
    var argument = [UInt64(UInt32(bitPattern: source)), from, length, to]
    return argument.withUnsafeMutableBytes { ioctl(target, 0x4020_940d, $0.baseAddress!) } == 0
      ? 0 : errno
  }

  /// copy_file_range(2): how many bytes, or a negative errno.
  package static func copyFileRange(
    _ source: Int32, at from: Int, to target: Int32, at to: Int, length: Int
  ) -> Int {
    var (from, to) = (off_t(from), off_t(to))
    let count = copyFileRangeCall(source, &from, target, &to, length, 0)
    return count < 0 ? -Int(errno) : count
  }

  private static let copyFileRangeCall:
    @Sendable @convention(c) (
      Int32, UnsafeMutablePointer<off_t>, Int32, UnsafeMutablePointer<off_t>, Int, UInt32
    ) -> Int = symbol("copy_file_range")

  static func symbol<Function>(_ name: String) -> Function {
    guard let address = dlsym(dlopen(nil, RTLD_NOW), name) else {
      fatalError("the C library has no \(name)")
    }
    return unsafeBitCast(address, to: Function.self)
  }
}

/// A device number in the kernel's split form, as `mknod` takes and `stat` returns it.
package func deviceNumber(major: Int, minor: Int) -> dev_t {
  dev_t(
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & ~0xff) << 12) | ((major & ~0xfff) << 32))
}

/// `ENOENT` for 2: short, and the same on every machine.
package func errorName(_ code: Int32) -> String {
  switch code {
  case EPERM: "EPERM"
  case ENOENT: "ENOENT"
  case EIO: "EIO"
  case EBADF: "EBADF"
  case EACCES: "EACCES"
  case EBUSY: "EBUSY"
  case EEXIST: "EEXIST"
  case EXDEV: "EXDEV"
  case ENODEV: "ENODEV"
  case ENOTDIR: "ENOTDIR"
  case EISDIR: "EISDIR"
  case EINVAL: "EINVAL"
  case EFBIG: "EFBIG"
  case ENOSPC: "ENOSPC"
  case EROFS: "EROFS"
  case EMLINK: "EMLINK"
  case ERANGE: "ERANGE"
  case ENAMETOOLONG: "ENAMETOOLONG"
  case ENOSYS: "ENOSYS"
  case ENOTEMPTY: "ENOTEMPTY"
  case ELOOP: "ELOOP"
  case ENODATA: "ENODATA"
  case EOVERFLOW: "EOVERFLOW"
  case EOPNOTSUPP: "EOPNOTSUPP"
  case ENOTCONN: "ENOTCONN"
  case ECONNABORTED: "ECONNABORTED"
  case ENXIO: "ENXIO"
  case E2BIG: "E2BIG"
  case EUCLEAN: "EUCLEAN"
  case ESTALE: "ESTALE"
  case ETXTBSY: "ETXTBSY"
  default: "errno \(code)"
  }
}
