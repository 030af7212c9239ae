import Glibc
import Synchronization

/// Runs `body` on `count` threads at once and returns when all have ended; throws the first error.
package func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Void) throws {
  let box = ThreadWork(body: body)
  var threads: [pthread_t] = []
  for index in 0..<count {
    let argument = Unmanaged.passRetained(ThreadArgument(index: index, work: box))
    var thread = pthread_t()
    let code = pthread_create(
      &thread, nil,
      { raw in
        let argument = Unmanaged<ThreadArgument>.fromOpaque(raw!).takeRetainedValue()
        argument.work.run(argument.index)
        return nil
      }, argument.toOpaque())
    guard code == 0 else {
      argument.release()
      box.firstError.withLock { $0 = SystemError(what: "pthread_create", code: code) }
      break
    }
    threads.append(thread)
  }
  for thread in threads { pthread_join(thread, nil) }
  if let error = box.firstError.withLock({ $0 }) { throw error }
}

private final class ThreadWork: Sendable {
  let body: @Sendable (Int) throws -> Void
  let firstError = Mutex<(any Error)?>(nil)

  init(body: @escaping @Sendable (Int) throws -> Void) { self.body = body }

  func run(_ index: Int) {
    do { try body(index) } catch { firstError.withLock { $0 = $0 ?? error } }
  }
}

private final class ThreadArgument {
  let index: Int
  let work: ThreadWork

  init(index: Int, work: ThreadWork) {
    self.index = index
    self.work = work
  }
}

/// Runs `body` while no thread of the process runs.
///
/// SIGSTOP alone does not promise that: the threads go on until one of them takes the signal, and
/// what a thread has asked of the kernel goes on to its end. Where the process serves a mount,
/// `body` may start no process: one would inherit files of the mount, and wait for the server when
/// it closes them.
package func whileStopped<Result>(
  _ processID: pid_t, _ body: () throws -> Result
) throws -> Result {
  try check("stop \(processID)") { kill(processID, SIGSTOP) }
  defer { kill(processID, SIGCONT) }
  let deadline = monotonicSeconds() + 20
  while try !allThreadsAreStopped(processID) {
    if monotonicSeconds() > deadline { throw TestFailure("\(processID) does not stop") }
    usleep(500)
  }
  return try body()
}

private func allThreadsAreStopped(_ processID: pid_t) throws -> Bool {
  let threads = BytePath("/proc/\(processID)/task")
  return try directoryNames(threads).allSatisfy { thread in
    let text = (try? readFile(threads.appending(thread).appending("stat"))) ?? []
    // "number (name) state …"; the name may hold anything. A thread that ended has no text.
    guard let end = text.lastIndex(of: UInt8(ascii: ")")) else { return true }
    return text.dropFirst(end + 2).first.map { "TtXZ".utf8.contains($0) } ?? true
  }
}

/// Where threads wait for each other.
package final class Barrier: @unchecked Sendable {
  private let barrier = UnsafeMutablePointer<pthread_barrier_t>.allocate(capacity: 1)

  /// - Parameter count: how many threads go on together.
  package init(_ count: UInt32) { pthread_barrier_init(barrier, nil, count) }

  deinit {
    pthread_barrier_destroy(barrier)
    barrier.deallocate()
  }

  package func wait() { pthread_barrier_wait(barrier) }
}
