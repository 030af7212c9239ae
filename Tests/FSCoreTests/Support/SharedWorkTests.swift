import Glibc
import Synchronization
import TestSupport
import Testing

@testable import FSCore

/// Steps that a thread shares with workers.
@Suite(.timeLimit(.minutes(2))) struct SharedWorkTests {
  /// Notes what begins and ends.
  private final class Counts: Sendable {
    let begun = Guarded<[Int]>([], rank: .leaf)
    let running = Atomic<Int>(0)
    /// The step that the owner takes next.
    let taken = Atomic<Int>(0)
    let furthest = Atomic<Int>(0)
    let threads = Guarded<Set<UInt>>([], rank: .leaf)
  }

  private struct Steps: WorkSteps {
    let counts: Counts
    var pause: useconds_t = 0

    func perform(_ step: Int) -> Int {
      counts.running.add(1, ordering: .relaxed)
      counts.begun.withLock { $0.append(step) }
      counts.threads.withLock { _ = $0.insert(UInt(pthread_self())) }
      counts.furthest.max(step - counts.taken.load(ordering: .relaxed), ordering: .relaxed)
      if pause > 0 { usleep(pause) }
      counts.running.subtract(1, ordering: .relaxed)
      return step * 7
    }
  }

  @Test(arguments: [1, 2, 5, 100], [1, 3, 40])
  func eachStepOnceInOrderAndNotTooFarAhead(count: Int, window: Int) {
    let workers = WorkerPool(threadCount: 4)
    defer { workers.stop() }
    let counts = Counts()
    let work = SharedWork(
      Steps(counts: counts, pause: 200), count: count, window: window, workers: workers)
    for step in 0..<count {
      #expect(work.take() == step * 7)
      counts.taken.store(step + 1, ordering: .relaxed)
    }
    work.end()
    #expect(counts.begun.withLock { $0.sorted() } == Array(0..<count))
    // The owner may have taken one that is not noted as taken yet.
    #expect(counts.furthest.load(ordering: .relaxed) <= window)
    if count == 100, window == 40, WorkerPool.processorCount > 1 {
      #expect(counts.threads.withLock { $0.count } > 1)
    }
  }

  /// Workers that have other things to do hold nobody up.
  @Test func withoutWorkersTheOwnerDoesAll() {
    let workers = WorkerPool(threadCount: 2)
    workers.suspend()
    let counts = Counts()
    let work = SharedWork(Steps(counts: counts), count: 50, window: 8, workers: workers)
    for step in 0..<50 { #expect(work.take() == step * 7) }
    work.end()
    #expect(counts.threads.withLock { $0.count } == 1)
    // Those that come late find nothing to do.
    workers.resume()
    workers.stop()
    #expect(counts.begun.withLock { $0.count } == 50)
  }

  /// A volume that is shut down ends its workers while batches are still under way.
  @Test func workersMayHaveEnded() {
    let workers = WorkerPool(threadCount: 2)
    workers.stop()
    let counts = Counts()
    let work = SharedWork(Steps(counts: counts), count: 20, window: 8, workers: workers)
    for step in 0..<20 { #expect(work.take() == step * 7) }
    work.end()
    #expect(counts.threads.withLock { $0.count } == 1)
  }

  /// What the steps refer to may go when the owner leaves early.
  @Test func nothingRunsAfterTheEnd() {
    let workers = WorkerPool(threadCount: 4)
    defer { workers.stop() }
    for _ in 0..<50 {
      let counts = Counts()
      let work = SharedWork(
        Steps(counts: counts, pause: 300), count: 64, window: 16, workers: workers)
      _ = work.take()
      work.end()
      #expect(counts.running.load(ordering: .relaxed) == 0)
      let begun = counts.begun.withLock { $0.count }
      usleep(1000)
      #expect(counts.begun.withLock { $0.count } == begun)
    }
  }
}
