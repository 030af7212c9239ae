import Glibc

/// A terminal whose screen is read by the test. It has no keyboard.
package final class PseudoTerminal {
  private let screen: Int32
  private let line: Int32
  private let path: String

  package init(columns: Int, rows: Int) throws {
    var (screen, line): (Int32, Int32) = (-1, -1)
    var size = winsize(
      ws_row: UInt16(columns == 0 ? 0 : rows), ws_col: UInt16(columns), ws_xpixel: 0, ws_ypixel: 0)
    try check("openpty") { Linux.openpty(&screen, &line, nil, nil, &size) }
    for descriptor in [screen, line] { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    _ = fcntl(screen, F_SETFL, O_NONBLOCK)
    self.screen = screen
    self.line = line
    var name = [CChar](repeating: 0, count: 256)
    let code = ttyname_r(line, &name, name.count)
    guard code == 0 else {
      close(screen)
      close(line)
      throw SystemError(what: "ttyname", code: code)
    }
    path = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    close(screen)
    close(line)
  }

  /// Runs a command with the terminal as its standard output; returns what it has written there.
  ///
  /// - Parameter isEnough: interrupts the command once it is true of what was written so far.
  package func run(
    _ arguments: [String], timeout: Double = 60, until isEnough: (String) -> Bool = { _ in false }
  ) throws -> (result: CommandResult, screen: String) {
    let command = try RunningCommand(["sh", "-c", "exec \"$@\" > \(path)", "sh"] + arguments)
    let deadline = monotonicSeconds() + timeout
    var bytes: [UInt8] = []
    var isInterrupted = false
    while true {
      let hasEnded = command.poll() != nil
      bytes += readAll()
      if hasEnded || monotonicSeconds() > deadline { break }
      if !isInterrupted, isEnough(String(decoding: bytes, as: UTF8.self)) {
        isInterrupted = true
        command.signal(SIGINT)
      }
      usleep(10_000)
    }
    let result = command.wait(timeout: 0)
    return (result, String(decoding: bytes, as: UTF8.self))
  }

  private func readAll() -> [UInt8] {
    var bytes: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = read(screen, &part, part.count)
      if count > 0 {
        bytes += part[..<count]
      } else if count == 0 || errno != EINTR {
        return bytes
      }
    }
  }
}
