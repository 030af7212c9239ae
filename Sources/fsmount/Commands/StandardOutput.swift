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
          return
        }
      }
    }
  }
}
