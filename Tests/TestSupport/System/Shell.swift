import Glibc

/// A finished command.
package struct CommandResult: Sendable {
  package let command: String
  /// Exit status; 128 + signal when a signal ended it; nil when the time ran out.
  package let status: Int32?
  package let output: String
  package let errors: String

  package var succeeded: Bool { status == 0 }
  package var wasKilledBySignal: Bool { (status ?? 0) > 128 }
  package var text: String { output + errors }

  package var summary: String {
    let ending = status.map { "exit \($0)" } ?? "no end within its time, killed"
    return "\(command): \(ending)\n\(text)"
  }

  /// Throws unless the command succeeded.
  @discardableResult
  package func orThrow() throws -> CommandResult {
    guard succeeded else { throw TestFailure(summary) }
    return self
  }
}

/// A command running in a process group of its own, its output collected in files, so that a
/// daemon that keeps the descriptors open never holds up the reader.
package final class RunningCommand: @unchecked Sendable {
  package let command: String
  package let processID: pid_t
  private let directory: TemporaryDirectory
  private var finished: Int32?

  package init(_ arguments: [String], environment extra: [String: String] = [:]) throws {
    command = arguments.joined(separator: " ")
    directory = try TemporaryDirectory()
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    let flags = O_WRONLY | O_CREAT | O_TRUNC
    posix_spawn_file_actions_addopen(&actions, 1, directory.file("out"), flags, 0o600)
    posix_spawn_file_actions_addopen(&actions, 2, directory.file("err"), flags, 0o600)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // Whatever the test runner ignores or blocks, the command must not.
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    sigfillset(&signals)
    posix_spawnattr_setsigdefault(&attributes, &signals)
    posix_spawnattr_setpgroup(&attributes, 0)
    let behaviour = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
    posix_spawnattr_setflags(&attributes, Int16(behaviour))

    var environment = currentEnvironment()
    environment["LC_ALL"] = "C"
    environment["SWIFT_BACKTRACE"] = "enable=no"
    environment.merge(extra) { _, new in new }
    var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    var envp: [UnsafeMutablePointer<CChar>?] =
      environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for text in argv + envp { free(text) } }
    var identifier: pid_t = 0
    let code = posix_spawnp(&identifier, arguments[0], &actions, &attributes, &argv, &envp)
    guard code == 0 else { throw SystemError(what: "start \(arguments[0])", code: code) }
    processID = identifier
  }

  /// The exit status if it has ended; does not wait.
  package func poll() -> Int32? {
    if let finished { return finished }
    var status: Int32 = 0
    guard waitpid(processID, &status, WNOHANG) == processID else { return nil }
    finished = status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
    return finished
  }

  /// Waits; when the time runs out, kills this process (and its group) and says so by nil. Returns as
  /// soon as the process has ended.
  package func wait(timeout: Double) -> CommandResult {
    let deadline = monotonicSeconds() + timeout
    let process = finished == nil ? Linux.openProcess(processID, 0) : -1
    defer { if process >= 0 { close(process) } }
    var pause: UInt32 = 500
    while poll() == nil {
      if monotonicSeconds() > deadline {
        kill(-processID, SIGKILL)
        let grace = monotonicSeconds() + 10
        while poll() == nil, monotonicSeconds() < grace { usleep(5_000) }
        return result(status: nil)
      }
      if process >= 0 {
        var waited = pollfd(fd: process, events: Int16(POLLIN), revents: 0)
        let left = max(deadline - monotonicSeconds(), 0)
        _ = Glibc.poll(&waited, 1, Int32(min(left * 1000 + 1, 1000)))
      } else {
        usleep(pause)
        pause = min(pause * 2, 20_000)
      }
    }
    return result(status: finished)
  }

  package func signal(_ number: Int32) {
    if poll() == nil { kill(processID, number) }
  }

  package var outputSoFar: String {
    readText(directory.file("out")) + readText(directory.file("err"))
  }

  private func result(status: Int32?) -> CommandResult {
    CommandResult(
      command: command, status: status, output: readText(directory.file("out")),
      errors: readText(directory.file("err")))
  }
}

package enum Shell {
  /// Runs a command to its end. Throws only if it cannot be started.
  @discardableResult
  package static func run(
    _ arguments: [String], timeout: Double = 60, environment: [String: String] = [:]
  ) throws -> CommandResult {
    try RunningCommand(arguments, environment: environment).wait(timeout: timeout)
  }

  @discardableResult
  package static func run(_ arguments: String..., timeout: Double = 60) throws -> CommandResult {
    try run(arguments, timeout: timeout)
  }

  /// The full path of a command, searched as the shell does, and in the administrators' places.
  package static func find(_ command: String) -> String? {
    let places = (currentEnvironment()["PATH"] ?? "").split(separator: ":").map(String.init)
    return (places + ["/usr/sbin", "/sbin", "/usr/bin", "/bin"])
      .map { "\($0)/\(command)" }
      .first { access($0, X_OK) == 0 }
  }
}

package func currentEnvironment() -> [String: String] {
  let bytes = (try? readFile(BytePath("/proc/self/environ"))) ?? []
  var environment: [String: String] = [:]
  for entry in bytes.split(separator: 0) {
    let parts = entry.split(separator: UInt8(ascii: "="), maxSplits: 1)
    guard let name = parts.first else { continue }
    let value = parts.count > 1 ? String(decoding: parts[1], as: UTF8.self) : ""
    environment[String(decoding: name, as: UTF8.self)] = value
  }
  return environment
}

package func readFile(_ path: BytePath) throws(SystemError) -> [UInt8] {
  let descriptor = try check("open \(path)") { path.withCPath { open($0, O_RDONLY) } }
  defer { close(descriptor) }
  var bytes: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 65536)
  while true {
    let count = try check("read \(path)") { read(descriptor, &chunk, chunk.count) }
    if count == 0 { return bytes }
    bytes.append(contentsOf: chunk[..<count])
  }
}

package func readText(_ path: String) -> String {
  String(decoding: (try? readFile(BytePath(path))) ?? [], as: UTF8.self)
}

package func writeFile(_ path: BytePath, _ bytes: [UInt8]) throws(SystemError) {
  let descriptor = try check("create \(path)") {
    path.withCPath { open($0, O_WRONLY | O_CREAT | O_TRUNC, 0o644) }
  }
  defer { close(descriptor) }
  var offset = 0
  while offset < bytes.count {
    offset += try check("write \(path)") {
      bytes.withUnsafeBytes {
        write(descriptor, $0.baseAddress! + offset, $0.count - offset)
      }
    }
  }
}
