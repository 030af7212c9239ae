import Glibc

/// The locks that the current thread holds. In debug builds they are kept, and what is wrong traps;
/// in release builds there is nothing here.
///
/// 1. A lock is taken only while all that the thread holds have a lower rank; or the same rank,
///    where both locks have an order, and a smaller one.
/// 2. The thread that releases a lock is the one that took it.
enum HeldLocks {
  #if DEBUG
    private struct Entry {
      var lock: UnsafeRawPointer
      var rank: LockRank
      var order: InodeID?
      var isExclusive: Bool
      var isTried: Bool
    }

    private final class State {
      var entries: [Entry] = []
      init() { entries.reserveCapacity(16) }
    }

    private static let key: pthread_key_t = {
      var key = pthread_key_t()
      pthread_key_create(&key) { state in
        if let state { Unmanaged<State>.fromOpaque(state).release() }
      }
      return key
    }()

    private static var state: State {
      if let pointer = pthread_getspecific(key) {
        return Unmanaged<State>.fromOpaque(pointer).takeUnretainedValue()
      }
      let state = State()
      pthread_setspecific(key, Unmanaged.passRetained(state).toOpaque())
      return state
    }
  #endif

  /// To be called before a lock is waited for.
  ///
  /// - Parameter order: of a lock of which a thread may have several of the same rank.
  /// - Parameter isTried: the caller does not wait, and has the lock already: any order is right.
  @inline(__always)
  static func willTake(
    _ lock: UnsafeRawPointer, _ rank: LockRank, order: InodeID? = nil, isExclusive: Bool = true,
    isTried: Bool = false
  ) {
    #if DEBUG
      let state = self.state
      if !isTried {
        for held in state.entries.reversed() {
          if held.rank < rank {
            // What was waited for before this has no higher rank. A thread may hold thousands.
            if held.isTried { continue } else { break }
          }
          if held.rank == rank, let order, let before = held.order, before < order { continue }
          fatalError(
            "lock order: \(rank) \(order.map(String.init) ?? "") taken while holding \(held.rank)")
        }
      }
      state.entries.append(
        Entry(
          lock: lock, rank: rank, order: order, isExclusive: isExclusive, isTried: isTried))
    #endif
  }

  @inline(__always)
  static func didRelease(_ lock: UnsafeRawPointer) {
    #if DEBUG
      let state = self.state
      guard let index = state.entries.lastIndex(where: { $0.lock == lock }) else {
        fatalError("a lock is released that the thread does not hold")
      }
      state.entries.remove(at: index)
    #endif
  }

  /// Traps in debug builds when the thread holds a lock of this rank or a higher one.
  @inline(__always)
  static func assertMayWait(below rank: LockRank) {
    #if DEBUG
      for held in state.entries where held.rank >= rank {
        fatalError("waiting for \(rank) while holding \(held.rank)")
      }
    #endif
  }

  /// Whether the thread holds the lock; always in release builds.
  @inline(__always)
  static func holds(_ lock: UnsafeRawPointer, exclusively: Bool) -> Bool {
    #if DEBUG
      return state.entries.contains { $0.lock == lock && ($0.isExclusive || !exclusively) }
    #else
      return true
    #endif
  }
}
