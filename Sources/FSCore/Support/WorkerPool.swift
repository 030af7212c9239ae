import DequeModule
import Glibc

/// A fixed number of threads that run what they are given, in the order in which it came.
///
/// 1. A task may block, also in joining a transaction. So nothing that a commit waits for inside
///    its critical section goes through a pool.
/// 2. `submit` never waits, and may be called with any lock held.
package final class WorkerPool: Sendable {
  package typealias Task = @Sendable () -> Void

  private let queue = TaskQueue()
  private let threads: [pthread_t]

  package var threadCount: Int { threads.count }

  /// How many processors there are: more threads that only compute help nobody.
  package static let processorCount = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))

  /// How many tasks wait for a worker.
  package var waitingCount: Int { queue.waitingCount }

  package init(threadCount: Int) {
    precondition(threadCount > 0)
    var threads: [pthread_t] = []
    for _ in 0..<threadCount {
      var thread = pthread_t()
      let context = Unmanaged.passRetained(queue)
      let code = pthread_create(&thread, nil, Self.runThread, context.toOpaque())
      precondition(code == 0, "no thread could be started")
      threads.append(thread)
    }
    self.threads = threads
  }

  /// Twice as many workers as there are cores, for they wait for the device as often as they
  /// compute; at least four.
  package convenience init() {
    self.init(threadCount: max(4, 2 * Self.processorCount))
  }

  package func submit(_ task: @escaping Task) {
    let isAccepted = queue.append(task)
    precondition(isAccepted, "a task for workers that have ended")
  }

  /// The same for a task that need not be done: false once the workers are to end.
  package func offer(_ task: @escaping Task) -> Bool { queue.append(task) }

  /// For tests: from now on tasks that have not begun wait until `resume`.
  package func suspend() { queue.setSuspended(true) }

  package func resume() { queue.setSuspended(false) }

  /// Runs what has been submitted, then ends the threads. Called once, at the end, by a thread
  /// that is not one of them; after it tasks can only be offered.
  package func stop() {
    guard queue.end() else { return }
    for thread in threads { pthread_join(thread, nil) }
  }

  deinit {
    // The threads keep the queue alive as long as they need it.
    if queue.end() {
      for thread in threads { pthread_detach(thread) }
    }
  }

  private static let runThread:
    @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = {
      context in
      let queue = Unmanaged<TaskQueue>.fromOpaque(context!).takeRetainedValue()
      ThreadProcessors.useThoseOfProcess()
      while let task = queue.next() { task() }
      return nil
    }
}

/// What the workers share. Not `Guarded`, which wakes everybody: here one task wakes one worker.
private final class TaskQueue: @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>

  // Guarded by `mutex`.
  private var tasks: Deque<WorkerPool.Task> = []
  private var isEnding = false
  private var isSuspended = false

  init() {
    mutex = .allocate(capacity: 1)
    mutex.initialize(to: pthread_mutex_t())
    pthread_mutex_init(mutex, nil)
    condition = .allocate(capacity: 1)
    condition.initialize(to: pthread_cond_t())
    pthread_cond_init(condition, nil)
  }

  deinit {
    pthread_cond_destroy(condition)
    condition.deallocate()
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
  }

  private func locked<R>(_ body: () -> R) -> R {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return body()
  }

  var waitingCount: Int { locked { tasks.count } }

  /// False when there will be no workers.
  func append(_ task: @escaping WorkerPool.Task) -> Bool {
    locked {
      if isEnding { return false }
      tasks.append(task)
      pthread_cond_signal(condition)
      return true
    }
  }

  func setSuspended(_ isSuspended: Bool) {
    locked {
      self.isSuspended = isSuspended
      pthread_cond_broadcast(condition)
    }
  }

  /// Says whether this is the first call.
  func end() -> Bool {
    locked {
      defer {
        isEnding = true
        isSuspended = false
        pthread_cond_broadcast(condition)
      }
      return !isEnding
    }
  }

  /// The next task, waited for; nil when there will be none.
  func next() -> WorkerPool.Task? {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    while true {
      if !isSuspended, let task = tasks.popFirst() { return task }
      if isEnding { return nil }
      pthread_cond_wait(condition, mutex)
    }
  }
}
