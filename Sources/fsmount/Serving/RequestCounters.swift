import Synchronization

/// The kinds of requests that are answered, by the names that libfuse gives them.
enum FuseOperation: Int, CaseIterable, Sendable {
  case lookup, forget, getattr, setattr, readlink, mknod, mkdir, unlink, rmdir, symlink, rename
  case link, open, read, write, statfs, release, fsync, setxattr, getxattr, listxattr
  case removexattr, flush, opendir, readdir, releasedir, fsyncdir, create, ioctl, fallocate
  case readdirplus, lseek, copyFileRange

  var name: String { self == .copyFileRange ? "copy_file_range" : "\(self)" }
}

/// How many requests of each kind have come: one addition each, without a lock.
///
/// Each count has a cache line of its own, so that threads which serve different kinds of requests
/// do not take it from one another.
final class RequestCounters: @unchecked Sendable {
  private static let stride = 8
  private static let length = FuseOperation.allCases.count * stride

  /// Never moved, and gone with this object.
  private let counts: UnsafeMutablePointer<Atomic<UInt64>>

  init() {
    counts = .allocate(capacity: Self.length)
    for index in 0..<Self.length { (counts + index).initialize(to: Atomic(0)) }
  }

  deinit {
    counts.deinitialize(count: Self.length)
    counts.deallocate()
  }

  @inline(__always)
  func note(_ operation: FuseOperation) {
    counts[operation.rawValue * Self.stride].add(1, ordering: .relaxed)
  }

  func count(of operation: FuseOperation) -> UInt64 {
    counts[operation.rawValue * Self.stride].load(ordering: .relaxed)
  }
}
