import Glibc

/// The locks that the current thread holds. In debug builds they are kept, and what is wrong traps;
/// in release builds there is nothing here.
///
/// 1. A lock is taken only while all that the thread holds have a lower rank; or the same rank,
///    where both locks have an order, and a smaller one.
/// 2. The thread that releases a lock is the one that took it.
enum HeldLocks {
  #if DEBUG
    /// Plain numbers: where nothing is optimised, comparing anything else calls several functions,
    /// and every lock that is taken comes here.
    private struct Entry {
      var lock: UInt
      var tree: UInt64
      var number: UInt64
      var rank: UInt8
      var hasOrder: Bool
      var isExclusive: Bool
      var isTried: Bool
    }

    /// The last one that was taken stands last.
    private struct Stack {
      var entries: UnsafeMutablePointer<Entry>
      var count: Int
      var capacity: Int

      mutating func grow() {
        let larger = UnsafeMutablePointer<Entry>.allocate(capacity: capacity * 2)
        larger.moveInitialize(from: entries, count: count)
        entries.deallocate()
        entries = larger
        capacity *= 2
      }
    }

    private static let key: pthread_key_t = {
      var key = pthread_key_t()
      pthread_key_create(&key) { memory in
        guard let stack = memory?.assumingMemoryBound(to: Stack.self) else { return }
        stack.pointee.entries.deallocate()
        stack.deallocate()
      }
      return key
    }()

    private static var stack: UnsafeMutablePointer<Stack> {
      if let memory = pthread_getspecific(key) { return memory.assumingMemoryBound(to: Stack.self) }
      let stack = UnsafeMutablePointer<Stack>.allocate(capacity: 1)
      stack.initialize(to: Stack(entries: .allocate(capacity: 16), count: 0, capacity: 16))
      pthread_setspecific(key, stack)
      return stack
    }

    /// Traps where a lock of this rank and order may not be waited for.
    ///
    /// It is enough to look back to the last one that was waited for: that one comes before what is
    /// to be taken, and all that stands below it came before that one.
    private static func requireOrder(
      _ stack: UnsafeMutablePointer<Stack>, _ rank: UInt8, _ order: InodeID?
    ) {
      var index = stack.pointee.count
      while index > 0 {
        index &-= 1
        let held = stack.pointee.entries + index
        if held.pointee.rank >= rank {
          guard held.pointee.rank == rank, held.pointee.hasOrder, let order,
            held.pointee.tree < order.tree.rawValue
              || (held.pointee.tree == order.tree.rawValue
                && held.pointee.number < order.number.rawValue)
          else {
            fatalError(
              """
              lock order: \(name(rank)) \(order.map(String.init) ?? "") taken while holding \
              \(name(held.pointee.rank))
              """)
          }
        }
        if !held.pointee.isTried { return }
      }
    }

    private static func name(_ rank: UInt8) -> String {
      LockRank(rawValue: rank).map { "\($0)" } ?? "rank \(rank)"
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
      let stack = self.stack
      let number = rank.rawValue
      if !isTried { requireOrder(stack, number, order) }
      if stack.pointee.count == stack.pointee.capacity { stack.pointee.grow() }
      (stack.pointee.entries + stack.pointee.count).initialize(
        to: Entry(
          lock: UInt(bitPattern: lock), tree: order?.tree.rawValue ?? 0,
          number: order?.number.rawValue ?? 0, rank: number, hasOrder: order != nil,
          isExclusive: isExclusive, isTried: isTried))
      stack.pointee.count &+= 1
    #endif
  }

  @inline(__always)
  static func didRelease(_ lock: UnsafeRawPointer) {
    #if DEBUG
      let stack = self.stack
      let lock = UInt(bitPattern: lock)
      let last = stack.pointee.count &- 1
      var index = last
      while index >= 0, (stack.pointee.entries + index).pointee.lock != lock { index &-= 1 }
      if index < 0 { fatalError("a lock is released that the thread does not hold") }
      while index < last {
        (stack.pointee.entries + index).pointee = (stack.pointee.entries + (index &+ 1)).pointee
        index &+= 1
      }
      stack.pointee.count = last
    #endif
  }

  /// Traps in debug builds when the thread holds a lock of this rank or a higher one.
  @inline(__always)
  static func assertMayWait(below rank: LockRank) {
    #if DEBUG
      let stack = self.stack
      let number = rank.rawValue
      var index = stack.pointee.count
      while index > 0 {
        index &-= 1
        let held = (stack.pointee.entries + index).pointee
        guard held.rank < number else {
          fatalError("waiting for \(rank) while holding \(name(held.rank))")
        }
        // What stands below has no higher rank.
        if !held.isTried { return }
      }
    #endif
  }

  /// Traps in debug builds when the thread holds a lock under which nobody may wait for a device: that
  /// of a tree, unless it is the extent tree that is read, or one for a short section in memory.
  @inline(__always)
  static func assertMayUseDevice() {
    #if DEBUG
      let stack = self.stack
      var isInTree = false
      var isInExtentTree = false
      for index in 0..<stack.pointee.count {
        let rank = (stack.pointee.entries + index).pointee.rank
        if rank > LockRank.extentTree.rawValue {
          fatalError("the device is used while \(name(rank)) is held")
        }
        if rank == LockRank.extentTree.rawValue { isInExtentTree = true }
        if rank == LockRank.tree.rawValue { isInTree = true }
      }
      if isInTree, !isInExtentTree { fatalError("the device is used while a tree is locked") }
    #endif
  }

  /// Whether the thread holds the lock; always in release builds.
  @inline(__always)
  static func holds(_ lock: UnsafeRawPointer, exclusively: Bool) -> Bool {
    #if DEBUG
      let stack = self.stack
      let lock = UInt(bitPattern: lock)
      var index = stack.pointee.count
      while index > 0 {
        index &-= 1
        let held = stack.pointee.entries + index
        if held.pointee.lock == lock, held.pointee.isExclusive || !exclusively { return true }
      }
      return false
    #else
      return true
    #endif
  }
}
