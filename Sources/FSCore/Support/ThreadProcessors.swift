import CCodecs
import Glibc

/// On which processors a thread may run.
package enum ThreadProcessors {
  /// Those of the calling thread, ascending.
  package static var own: [Int32] { ofThread(0) }

  private static func ofThread(_ number: Int32) -> [Int32] {
    // As many as the C library's set can name.
    [Int32](unsafeUninitializedCapacity: 1024) { buffer, count in
      count = ccodecs_processors_of(number, buffer.baseAddress, buffer.count)
    }
  }

  /// From now on the calling thread runs on these alone. False if it may not.
  @discardableResult
  package static func use(_ processors: [Int32]) -> Bool {
    ccodecs_use_processors(processors, processors.count) == 0
  }

  /// Lets the calling thread run wherever the process may: where its first thread may. A thread
  /// begins with the processors of the one that made it, and that may serve a request on a single
  /// one, while this one has other work.
  package static func useThoseOfProcess() {
    let ofProcess = ofThread(getpid())
    if !ofProcess.isEmpty, ofProcess != own { use(ofProcess) }
  }

  /// The number by which the system knows the calling thread.
  package static var threadNumber: Int32 { ccodecs_thread_number() }
}
