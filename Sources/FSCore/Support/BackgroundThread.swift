import Glibc

/// A thread of our own, joined at the end. For work that no caller waits for.
///
/// It may run on each processor that the process's first thread may run on, while the thread that
/// makes it may be bound to one.
package final class BackgroundThread: @unchecked Sendable {
  private var thread = pthread_t()

  package init(_ body: @escaping @Sendable () -> Void) {
    let box = Unmanaged.passRetained(Box(body: body))
    let status = pthread_create(
      &thread, nil,
      { pointer in
        let box = Unmanaged<Box>.fromOpaque(pointer!).takeRetainedValue()
        ThreadProcessors.useThoseOfProcess()
        box.body()
        return nil
      }, box.toOpaque())
    precondition(status == 0, "no thread can be started: \(String(cString: strerror(status)))")
  }

  /// Waits until the body has returned. Called once, or `detach` is.
  package func join() { pthread_join(thread, nil) }

  /// Lets the thread end by itself: nobody waits for it.
  package func detach() { pthread_detach(thread) }

  private final class Box {
    let body: @Sendable () -> Void

    init(body: @escaping @Sendable () -> Void) { self.body = body }
  }
}
