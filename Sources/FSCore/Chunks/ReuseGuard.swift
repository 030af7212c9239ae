import Glibc
import Synchronization

/// Keeps freed space from being used anew while a reader may still be there. Rank: `spaceReuse`.
///
/// A reader of device space, tree block or data, is in `reading` from before it looks up where to
/// read until it has read. Then whoever frees an extent needs no lock against its readers.
///
/// 1. Once the critical section of a transaction is over, nothing that a lookup can find leads to
///    space which that transaction freed. So a reader that enters later cannot be there.
/// 2. `waitForEarlierReaders` returns when each reader that was in `reading` at its call has left.
///    It holds up no new reader.
/// 3. Freed space becomes allocatable after the commit that freed it is durable and, after that,
///    `waitForEarlierReaders` has returned.
/// 4. In `reading` a thread joins no transaction and waits for no commit: the commit may be
///    waiting for this thread. It may enter again.
///
/// Readers are counted by shards, each in a cache line of its own that threads rarely share, and
/// by the parity of the epoch in which they entered. A wait begins a new epoch, so the count of the
/// old one only falls. A reader that counted itself while the epoch changed does it anew: either
/// it sees the new epoch, or the wait sees its count.
package final class ReuseGuard: @unchecked Sendable {
  private static let shardBits: UInt64 = 4
  private static let shards = 1 << Int(shardBits)
  /// Words from one shard's counters to the next: two cache lines, which are fetched together.
  private static let stride = 16

  /// Two for each shard, by the parity of the epoch.
  private let counters: UnsafeMutablePointer<Atomic<Int>>
  private let epoch = Atomic<Int>(0)

  /// Whether a reader that leaves has to wake the thread that waits.
  private let isAwaited = Atomic<Bool>(false)
  private let departure = Guarded((), rank: .leaf)

  package init() {
    let count = Self.shards * Self.stride
    let memory = UnsafeMutableRawPointer.allocate(
      byteCount: count * MemoryLayout<Atomic<Int>>.stride, alignment: 128)
    counters = memory.bindMemory(to: Atomic<Int>.self, capacity: count)
    for index in 0..<count { (counters + index).initialize(to: Atomic(0)) }
  }

  deinit {
    counters.deinitialize(count: Self.shards * Self.stride)
    UnsafeMutableRawPointer(counters).deallocate()
  }

  /// Runs `body`, in which it is safe to look up where something stands and to read it there.
  @inline(__always)
  package func reading<R: ~Copyable, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
    let identity = UnsafeRawPointer(counters)
    let isAgain = HeldLocks.holds(identity, exclusively: false)
    HeldLocks.willTake(identity, .spaceReuse, isExclusive: false, isTried: isAgain)
    let counter = enter()
    defer {
      leave(counter)
      HeldLocks.didRelease(identity)
    }
    return try body()
  }

  private func enter() -> Int {
    // Stacks of threads are far apart, so the middle bits of what identifies a thread differ.
    let thread = UInt64(UInt(pthread_self())) >> 8 &* 0x9E37_79B9_7F4A_7C15
    let shard = Int(thread >> (64 - Self.shardBits)) * Self.stride
    while true {
      let epoch = self.epoch.load(ordering: .relaxed)
      let counter = shard + (epoch & 1)
      counters[counter].add(1, ordering: .sequentiallyConsistent)
      if self.epoch.load(ordering: .sequentiallyConsistent) == epoch { return counter }
      leave(counter)
    }
  }

  private func leave(_ counter: Int) {
    counters[counter].subtract(1, ordering: .sequentiallyConsistent)
    if isAwaited.load(ordering: .sequentiallyConsistent) { departure.update { _ in } }
  }

  /// Waits until all threads that are in `reading` now have left. Called by one thread at a time, by the
  /// commit, with no lock of rank `spaceReuse` or above held.
  package func waitForEarlierReaders() {
    HeldLocks.assertMayWait(below: .spaceReuse)
    let old = epoch.add(1, ordering: .sequentiallyConsistent).oldValue
    guard hasReaders(of: old) else { return }
    isAwaited.store(true, ordering: .sequentiallyConsistent)
    departure.when({ _ in !hasReaders(of: old) }) { _ in }
    isAwaited.store(false, ordering: .relaxed)
  }

  /// A count that was seen as 0 stays 0, but for readers that notice the new epoch.
  private func hasReaders(of epoch: Int) -> Bool {
    for shard in 0..<Self.shards
    where counters[shard * Self.stride + (epoch & 1)].load(ordering: .sequentiallyConsistent) != 0 {
      return true
    }
    return false
  }
}
