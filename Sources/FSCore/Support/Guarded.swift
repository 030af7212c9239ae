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
    // One piece of memory for both: every inode has one of these.
    let size = MemoryLayout<pthread_mutex_t>.stride
    let memory = UnsafeMutableRawPointer.allocate(
      byteCount: size + MemoryLayout<pthread_cond_t>.size,
      alignment: max(
        MemoryLayout<pthread_mutex_t>.alignment, MemoryLayout<pthread_cond_t>.alignment))
    mutex = memory.initializeMemory(as: pthread_mutex_t.self, to: pthread_mutex_t())
    condition = (memory + size).initializeMemory(as: pthread_cond_t.self, to: pthread_cond_t())
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(condition, ConditionAttributes.monotonic)
    self.state = state
    self.rank = rank
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    UnsafeMutableRawPointer(mutex).deallocate()
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

private enum ConditionAttributes {
  /// For conditions that are waited for by the monotonic clock. Never changed once it is made.
  nonisolated(unsafe) static let monotonic: UnsafePointer<pthread_condattr_t> = {
    let attributes = UnsafeMutablePointer<pthread_condattr_t>.allocate(capacity: 1)
    attributes.initialize(to: pthread_condattr_t())
    pthread_condattr_init(attributes)
    pthread_condattr_setclock(attributes, CLOCK_MONOTONIC)
    return UnsafePointer(attributes)
  }()
}
