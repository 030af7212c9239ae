import Glibc

enum StandardError {
  /// Writes one line, whole: lines of several threads do not mix.
  static func write(_ line: String) {
    var text = line + "\n"
    text.withUTF8 { bytes in
      var done = 0
      while done < bytes.count {
        let count = Glibc.write(STDERR_FILENO, bytes.baseAddress! + done, bytes.count - done)
        if count > 0 {
          done += count
        } else if errno != EINTR {
          return
        }
      }
    }
  }
}
