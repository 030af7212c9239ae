import Glibc

/// A failed system call, or a check of the tests' own that did not hold.
package struct SystemError: Error, CustomStringConvertible {
  package let what: String
  package let code: Int32

  package var description: String {
    code == 0 ? what : "\(what): \(errorName(code)) (\(String(cString: strerror(code))))"
  }
}

/// A test's finding: what should have been and what was.
package struct TestFailure: Error, CustomStringConvertible {
  package let description: String
  package init(_ description: String) { self.description = description }
}

/// Repeats a call that a signal interrupted, and throws what else fails.
@discardableResult
package func check<Value: SignedInteger>(
  _ what: @autoclosure () -> String, _ call: () -> Value
) throws(SystemError) -> Value {
  while true {
    let value = call()
    if value >= 0 { return value }
    let code = errno
    if code != EINTR { throw SystemError(what: what(), code: code) }
  }
}

/// The value of a call, or its negated errno: the kernel's own way, and easy to compare.
package func outcome<Value: SignedInteger>(_ call: () -> Value) -> Int {
  while true {
    let value = call()
    if value >= 0 { return Int(value) }
    if errno != EINTR { return -Int(errno) }
  }
}

package func monotonicSeconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

package let isRoot = geteuid() == 0

package func standardError(_ text: String) {
  var line = text + "\n"
  line.withUTF8 { _ = write(2, $0.baseAddress, $0.count) }
}

/// Text to standard output at once, so that a log shows how far a run came.
package func say(_ text: String) {
  print(text)
  fflush(nil)
}

/// With one decimal.
package func rounded(_ value: Double) -> String {
  let tenths = Int((value.magnitude * 10).rounded())
  return "\(value < 0 && tenths > 0 ? "-" : "")\(tenths / 10).\(tenths % 10)"
}
