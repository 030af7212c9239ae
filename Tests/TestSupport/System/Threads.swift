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
