import Glibc
import Synchronization
import Testing

@testable import FSCore

/// The two rules that keep a commit from waiting for itself.
///
/// Synchronous completion: a cache's IO never goes through worker threads, since all of them may
/// wait to join, and so for the commit that waits for the IO. The no-lock path: the committing thread does
/// not join as others do, since joining waits for the commit's end.
@Suite(.timeLimit(.minutes(10))) struct SpaceDeadlockTests {
  /// Makes every worker wait to join the transaction. Called inside a critical section.
  private static func blockAllWorkers(of volume: Volume) {
    let count = volume.workers.threadCount
    for _ in 0..<count {
      volume.workers.submit {
        try? volume.transactions.perform(reserving: 1) { (_) throws(FilesystemError) in }
      }
    }
    // The committing thread holds locks that forbid it to look at the gate.
    BackgroundThread {
      expectSoon("all wait") { volume.transactions.waitingToJoin >= count }
    }.join()
  }

  private static func makeVolume() throws -> Volume {
    let volume = try Volume.mountForTest(TestImage.make(sizeBytes: 4 << 30))
    let id = try volume.makeFile("/file")
    try volume.writeBytes(id, at: 0, [UInt8](repeating: 7, count: 500_000))
    try volume.synchronizeAll()
    try volume.writeBytes(id, at: 0, [UInt8](repeating: 8, count: 500_000))
    return volume
  }

  /// The workers have been let go, but need not be done: until then something is reserved.
  private static func unmount(_ volume: Volume) throws {
    expectSoon("the workers are done") {
      volume.space.groups.metadata.counters.withLock { $0.reservedMetadata } == 0
    }
    try volume.unmount()
  }

  /// Whether `synchronizeAll` on another thread returns within `seconds`.
  private final class Sync: Sendable {
    let isDone = Guarded(false, rank: .leaf)
    private let thread: Guarded<BackgroundThread?>

    init(_ volume: Volume) {
      thread = Guarded(nil, rank: .leaf)
      let isDone = self.isDone
      let started = BackgroundThread {
        try? volume.synchronizeAll()
        isDone.update { $0 = true }
      }
      thread.withLock { $0 = started }
    }

    func ends(within seconds: Double) -> Bool { isDone.wait(atMost: seconds) { $0 } }
    func join() { thread.withLock { $0 }?.join() }
  }

  @Test func theCommitPassesWhileEveryWorkerWaitsToJoin() throws {
    let volume = try Self.makeVolume()
    let wasCalled = Guarded(false, rank: .leaf)
    volume.caches.hooks.withLock { hooks in
      // Called inside the critical section, before the pages of a cache are taken.
      hooks.refusesPages = { [unowned volume] _ in
        let isFirst = wasCalled.withLock { called in
          defer { called = true }
          return !called
        }
        if isFirst { Self.blockAllWorkers(of: volume) }
        return false
      }
    }
    let sync = Sync(volume)
    #expect(sync.ends(within: 120))
    #expect(wasCalled.withLock { $0 })
    sync.join()
    volume.caches.hooks.withLock { $0 = CacheFilesHooks() }
    try Self.unmount(volume)
  }

  /// The first test is this one with the rule on.
  @Test func aCommitThatJoinsThroughTheGateHangs() throws {
    let volume = try Self.makeVolume()
    let committed = volume.transactions.committed
    volume.transactions.commitsThroughGate.store(true, ordering: .relaxed)
    let sync = Sync(volume)
    // The commit itself waits, and then all workers do, too.
    let deadline = ContinuousClock.now + .seconds(60)
    while volume.transactions.waitingToJoin < 1, ContinuousClock.now < deadline { usleep(1000) }
    Self.blockAllWorkers(of: volume)
    #expect(!sync.ends(within: 2))
    #expect(volume.transactions.waitingToJoin > volume.workers.threadCount)
    #expect(volume.transactions.committed == committed)

    // Only an abort ends it; the volume stays at its last commit.
    volume.transactions.abort(.corrupt("a deadlock that the test made"))
    #expect(sync.ends(within: 60))
    sync.join()
    #expect(volume.transactions.committed == committed)
    #expect(throws: FilesystemError.aborted) { try volume.unmount() }
  }

  @Test func withoutTheRuleTheCommitHangs() throws {
    let volume = try Self.makeVolume()
    let completions = Guarded<[@Sendable () -> Void]>([], rank: .leaf)
    volume.caches.hooks.withLock { hooks in
      hooks.completesThrough = { [unowned volume] completion in
        Self.blockAllWorkers(of: volume)
        completions.withLock { $0.append(completion) }
        volume.workers.submit(completion)
      }
    }
    let sync = Sync(volume)
    #expect(!sync.ends(within: 2))
    #expect(volume.transactions.waitingToJoin >= volume.workers.threadCount)

    // Freed by doing what the workers cannot, and with the rule again all is well.
    volume.caches.hooks.withLock { $0 = CacheFilesHooks() }
    let hasEnded = (0..<1000).contains { _ in
      for completion in completions.withLock({ $0 }) { completion() }
      return sync.ends(within: 0.05)
    }
    #expect(hasEnded)
    sync.join()
    try Self.unmount(volume)
  }
}
