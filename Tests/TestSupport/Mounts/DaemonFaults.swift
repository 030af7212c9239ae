import Glibc

/// What goes wrong in a daemon, at a moment that the test chooses: by a library that is preloaded into it
/// (Tests/DaemonFaults).
package struct DaemonFaults: ExpressibleByArrayLiteral {
  package enum Fault {
    /// It dies of SIGILL before it sends its n-th answer to the kernel. The first is that to INIT.
    case trapBefore(answer: Int)
    /// The same, when the kernel has that answer.
    case trapAfter(answer: Int)
    /// The kernel refuses what the program registers for io_uring.
    case refusesRings
    /// It waits when it makes something durable, while there is this file. Before, it makes
    /// `FILE.held`.
    case holdsFlushes(while: String)
  }

  private let faults: [Fault]

  package init(arrayLiteral faults: Fault...) { self.faults = faults }

  /// Empty without faults.
  package func environment() throws -> [String: String] {
    guard !faults.isEmpty else { return [:] }
    var environment = ["LD_PRELOAD": try Self.library()]
    for fault in faults {
      switch fault {
      case .trapBefore(let answer): environment["FAULT_TRAP_BEFORE"] = "\(answer)"
      case .trapAfter(let answer): environment["FAULT_TRAP_AFTER"] = "\(answer)"
      case .refusesRings: environment["FAULT_REGISTER"] = "1"
      case .holdsFlushes(let path): environment["FAULT_FLUSH_HOLD"] = path
      }
    }
    return environment
  }

  /// Beside the running program; else in the checkout's build directory.
  private static func library() throws -> String {
    var places: [BytePath] = []
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
    if count > 0 {
      let program = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
      places.append(BytePath(program).parent)
    }
    let checkout = BytePath(#filePath).parent.parent.parent.parent
    places += ["debug", "release"].map { checkout.appending(".build/\($0)") }
    let found = places.map { $0.appending("libDaemonFaults.so").string }
      .first { access($0, R_OK) == 0 }
    guard let found else {
      throw TestFailure("libDaemonFaults.so is not built: swift build --build-tests")
    }
    return found
  }
}
