import Glibc

/// A value and the mutex that guards it, with a condition to wait for a change of the value.
///
/// pthread's mutex rather than `Synchronization.Mutex`: the latter collapses when more threads
/// than cores want it, and FUSE brings many.
package final class Guarded<State>: @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>
  private let rank: LockRank
  private var state: State
  /// So that a state without bytes does not share its address with another object.
  private let padding: UInt8 = 0

  package init(_ state: consuming sending State, rank: LockRank) {
    mutex = .allocate(capacity: 1)
    mutex.initialize(to: pthread_mutex_t())
    pthread_mutex_init(mutex, nil)
    condition = .allocate(capacity: 1)
    condition.initialize(to: pthread_cond_t())
    var attributes = pthread_condattr_t()
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(condition, &attributes)
    pthread_condattr_destroy(&attributes)
    self.state = state
    self.rank = rank
  }

  deinit {
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
    pthread_cond_destroy(condition)
    condition.deallocate()
  }

  @inline(__always)
  package func withLock<R: ~Copyable, E: Error>(
    _ body: (inout State) throws(E) -> R
  ) throws(E) -> R {
    HeldLocks.willTake(rank)
    pthread_mutex_lock(mutex)
    defer {
      pthread_mutex_unlock(mutex)
      HeldLocks.didRelease(rank)
    }
    return try body(&state)
  }

  /// Waits until `ready` holds, then runs `body` under the same hold of the lock.
  package func when<R, E: Error>(
    _ ready: (State) -> Bool, _ body: (inout State) throws(E) -> R
  ) throws(E) -> R {
    HeldLocks.willTake(rank)
    pthread_mutex_lock(mutex)
    defer {
      pthread_mutex_unlock(mutex)
      HeldLocks.didRelease(rank)
    }
    while !ready(state) { pthread_cond_wait(condition, mutex) }
    return try body(&state)
  }

  /// Waits until `ready` holds or `seconds` have passed; says whether it holds.
  @discardableResult
  package func wait(atMost seconds: Double, until ready: (inout State) -> Bool) -> Bool {
    var deadline = timespec()
    clock_gettime(CLOCK_MONOTONIC, &deadline)
    let nanoseconds = Int(seconds * 1e9) + deadline.tv_nsec
    deadline.tv_sec += nanoseconds / 1_000_000_000
    deadline.tv_nsec = nanoseconds % 1_000_000_000

    HeldLocks.willTake(rank)
    pthread_mutex_lock(mutex)
    defer {
      pthread_mutex_unlock(mutex)
      HeldLocks.didRelease(rank)
    }
    while !ready(&state) {
      if pthread_cond_timedwait(condition, mutex, &deadline) == ETIMEDOUT { return ready(&state) }
    }
    return true
  }

  /// Changes the value and wakes whoever waits for a change.
  package func update<R, E: Error>(_ body: (inout State) throws(E) -> R) throws(E) -> R {
    HeldLocks.willTake(rank)
    pthread_mutex_lock(mutex)
    defer {
      pthread_cond_broadcast(condition)
      pthread_mutex_unlock(mutex)
      HeldLocks.didRelease(rank)
    }
    return try body(&state)
  }
}
