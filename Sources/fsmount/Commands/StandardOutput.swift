import Glibc

/// Standard output for lines that need not be UTF-8, as names need not.
enum StandardOutput {
  /// Writes lines, behind what was printed before.
  static func write(_ lines: [[UInt8]]) {
    var text: [UInt8] = []
    for line in lines {
      text += line
      text.append(UInt8(ascii: "\n"))
    }
    fflush(nil)
    text.withUnsafeBytes { bytes in
      var done = 0
      while done < bytes.count {
        let count = Glibc.write(
          STDOUT_FILENO, bytes.baseAddress! + done, bytes.count - done)
        if count > 0 {
          done += count
        } else if errno != EINTR {
          return fail(errno)
        }
      }
    }
  }

  /// Hands on what was printed. What cannot be written is told, and the process ends.
  static func flush() {
    if fflush(nil) != 0 { fail(errno) }
  }

  private static func fail(_ code: Int32) {
    // A reader that has enough goes away.
    if code != EPIPE {
      StandardError.write("fsmount: standard output: \(String(cString: strerror(code)))")
    }
    exit(CommandFailure.Status.failed.rawValue)
  }
}
