import Glibc

/// Shared for readers, exclusive for a writer. A waiting writer goes before new readers, so a
/// thread must not take it shared twice.
package final class ReadWriteLock: @unchecked Sendable {
  private let lock: UnsafeMutablePointer<pthread_rwlock_t>
  package let rank: LockRank

  #if DEBUG
    private let order: InodeID?
  #endif

  /// Never changed once they are made.
  nonisolated(unsafe) private static let attributes: UnsafePointer<pthread_rwlockattr_t> = {
    let attributes = UnsafeMutablePointer<pthread_rwlockattr_t>.allocate(capacity: 1)
    attributes.initialize(to: pthread_rwlockattr_t())
    pthread_rwlockattr_init(attributes)
    // PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP
    pthread_rwlockattr_setkind_np(attributes, 2)
    return UnsafePointer(attributes)
  }()

  /// - Parameter order: when a thread may hold several locks of this rank: in which order.
  package init(rank: LockRank, order: InodeID? = nil) {
    self.rank = rank
    #if DEBUG
      self.order = order
    #endif
    lock = .allocate(capacity: 1)
    lock.initialize(to: pthread_rwlock_t())
    pthread_rwlock_init(lock, Self.attributes)
  }

  deinit {
    pthread_rwlock_destroy(lock)
    lock.deallocate()
  }

  @inline(__always)
  private func willTake(isExclusive: Bool, isTried: Bool = false) {
    #if DEBUG
      HeldLocks.willTake(lock, rank, order: order, isExclusive: isExclusive, isTried: isTried)
    #endif
  }

  package func lockShared() {
    willTake(isExclusive: false)
    pthread_rwlock_rdlock(lock)
  }

  package func lockExclusive() {
    willTake(isExclusive: true)
    pthread_rwlock_wrlock(lock)
  }

  /// As `lockExclusive`, where the thread may hold others of the same rank, all taken with a smaller
  /// order.
  func lockExclusive(order: InodeID) {
    HeldLocks.willTake(lock, rank, order: order, isExclusive: true)
    pthread_rwlock_wrlock(lock)
  }

  package func unlock() {
    pthread_rwlock_unlock(lock)
    HeldLocks.didRelease(lock)
  }

  /// Takes the lock shared unless that would mean to wait. Says whether it did.
  package func tryLockShared() -> Bool {
    guard pthread_rwlock_tryrdlock(lock) == 0 else { return false }
    willTake(isExclusive: false, isTried: true)
    return true
  }

  /// Traps in debug builds unless the thread holds the lock, shared or exclusively.
  @inline(__always)
  package func assertHeld() { assert(isHeld(exclusively: false), "\(rank) is not held") }

  /// Traps in debug builds unless the thread holds the lock exclusively.
  @inline(__always)
  package func assertHeldExclusively() {
    assert(isHeld(exclusively: true), "\(rank) is not held exclusively")
  }

  /// Whether the thread holds the lock; always in release builds.
  @inline(__always)
  package func isHeld(exclusively: Bool) -> Bool {
    HeldLocks.holds(lock, exclusively: exclusively)
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
