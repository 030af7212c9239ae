import Glibc

/// Shared for readers, exclusive for a writer. A waiting writer goes before new readers, so a
/// thread must not take it shared twice.
package final class ReadWriteLock: @unchecked Sendable {
  private let lock: UnsafeMutablePointer<pthread_rwlock_t>
  package let rank: LockRank

  /// Several of these locks may be held by one thread; their order is the caller's business.
  private let severalOfRank: Bool

  /// Never changed once they are made.
  nonisolated(unsafe) private static let attributes: UnsafePointer<pthread_rwlockattr_t> = {
    let attributes = UnsafeMutablePointer<pthread_rwlockattr_t>.allocate(capacity: 1)
    attributes.initialize(to: pthread_rwlockattr_t())
    pthread_rwlockattr_init(attributes)
    // PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP
    pthread_rwlockattr_setkind_np(attributes, 2)
    return UnsafePointer(attributes)
  }()

  package init(rank: LockRank, severalOfRank: Bool = false) {
    self.rank = rank
    self.severalOfRank = severalOfRank
    lock = .allocate(capacity: 1)
    lock.initialize(to: pthread_rwlock_t())
    pthread_rwlock_init(lock, Self.attributes)
  }

  deinit {
    pthread_rwlock_destroy(lock)
    lock.deallocate()
  }

  package func lockShared() {
    HeldLocks.willTake(rank, severalOfRank: severalOfRank)
    pthread_rwlock_rdlock(lock)
  }

  package func lockExclusive() {
    HeldLocks.willTake(rank, severalOfRank: severalOfRank)
    pthread_rwlock_wrlock(lock)
  }

  package func unlock() {
    pthread_rwlock_unlock(lock)
    HeldLocks.didRelease(rank)
  }

  @inline(__always)
  package func shared<R: ~Copyable, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
    lockShared()
    defer { unlock() }
    return try body()
  }

  @inline(__always)
  package func exclusive<R: ~Copyable, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
    lockExclusive()
    defer { unlock() }
    return try body()
  }
}
