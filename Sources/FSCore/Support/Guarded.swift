import Glibc

/// A value and the mutex that guards it, with a condition to wait for a change of the value.
///
/// pthread's mutex rather than `Synchronization.Mutex`: the latter collapses when more threads
/// than cores want it, and FUSE brings many.
package final class Guarded<State>: @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>
  private let rank: LockRank
  /// Not a property: at each use of one the runtime would check that it has no other, which the
  /// mutex sees to.
  private let state: UnsafeMutablePointer<State>

  package init(_ state: consuming sending State, rank: LockRank) {
    // One piece of memory for all three: every inode has one of these. At least one byte of
    // state, so that one without bytes does not share its address with another object.
    let size = MemoryLayout<pthread_mutex_t>.stride
    let stateOffset = UInt64(size + MemoryLayout<pthread_cond_t>.size).roundedUp(
      to: UInt64(MemoryLayout<State>.alignment))
    let memory = UnsafeMutableRawPointer.allocate(
      byteCount: Int(stateOffset) + max(MemoryLayout<State>.size, 1),
      alignment: max(
        MemoryLayout<pthread_mutex_t>.alignment, MemoryLayout<pthread_cond_t>.alignment,
        MemoryLayout<State>.alignment))
    mutex = memory.initializeMemory(as: pthread_mutex_t.self, to: pthread_mutex_t())
    condition = (memory + size).initializeMemory(as: pthread_cond_t.self, to: pthread_cond_t())
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(condition, ConditionAttributes.monotonic)
    self.state = (memory + Int(stateOffset)).initializeMemory(as: State.self, to: state)
    self.rank = rank
  }

  deinit {
    state.deinitialize(count: 1)
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    UnsafeMutableRawPointer(mutex).deallocate()
  }

  @inline(__always)
  package func withLock<R: ~Copyable, E: Error>(
    _ body: (inout State) throws(E) -> R
  ) throws(E) -> R {
    HeldLocks.willTake(mutex, rank)
    pthread_mutex_lock(mutex)
    defer {
      pthread_mutex_unlock(mutex)
      HeldLocks.didRelease(mutex)
    }
    return try body(&state.pointee)
  }

  /// Traps in debug builds unless the thread holds the lock.
  @inline(__always)
  package func assertHeld() { assert(HeldLocks.holds(mutex, exclusively: true)) }

  /// Waits until `ready` holds, then runs `body` under the same hold of the lock.
  package func when<R, E: Error>(
    _ ready: (State) -> Bool, _ body: (inout State) throws(E) -> R
  ) throws(E) -> R {
    HeldLocks.willTake(mutex, rank)
    pthread_mutex_lock(mutex)
    defer {
      pthread_mutex_unlock(mutex)
      HeldLocks.didRelease(mutex)
    }
    while !ready(state.pointee) { pthread_cond_wait(condition, mutex) }
    return try body(&state.pointee)
  }

  /// Waits until `ready` holds or `seconds` have passed; says whether it holds.
  @discardableResult
  package func wait(atMost seconds: Double, until ready: (inout State) -> Bool) -> Bool {
    var deadline = timespec()
    clock_gettime(CLOCK_MONOTONIC, &deadline)
    let nanoseconds = Int(seconds * 1e9) + deadline.tv_nsec
    deadline.tv_sec += nanoseconds / 1_000_000_000
    deadline.tv_nsec = nanoseconds % 1_000_000_000

    HeldLocks.willTake(mutex, rank)
    pthread_mutex_lock(mutex)
    defer {
      pthread_mutex_unlock(mutex)
      HeldLocks.didRelease(mutex)
    }
    while !ready(&state.pointee) {
      if pthread_cond_timedwait(condition, mutex, &deadline) == ETIMEDOUT {
        return ready(&state.pointee)
      }
    }
    return true
  }

  /// Changes the value and wakes whoever waits for a change.
  package func update<R, E: Error>(_ body: (inout State) throws(E) -> R) throws(E) -> R {
    HeldLocks.willTake(mutex, rank)
    pthread_mutex_lock(mutex)
    defer {
      pthread_cond_broadcast(condition)
      pthread_mutex_unlock(mutex)
      HeldLocks.didRelease(mutex)
    }
    return try body(&state.pointee)
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
