import Glibc

/// What statvfs(3) calls available, beside what a single file takes in.
package struct AvailableSpace {
  package let announced: Int
  package let written: Int

  package init(in directory: BytePath, name: String = "all-there-is") throws {
    var status = statvfs()
    try check("statvfs \(directory)") { directory.withCPath { statvfs($0, &status) } }
    announced = Int(status.f_bavail) * Int(status.f_frsize)

    let path = directory.appending(name)
    let file = try check("create \(path)") {
      path.withCPath { open($0, O_CREAT | O_EXCL | O_WRONLY, 0o644) }
    }
    defer {
      close(file)
      _ = path.withCPath { unlink($0) }
    }
    let bytes = [UInt8](repeating: 0x5a, count: 1 << 20)
    var count = 0
    while true {
      let result = outcome { pwrite(file, bytes, bytes.count, count) }
      if result == -Int(ENOSPC) { break }
      guard result > 0 else {
        throw SystemError(what: "write \(path)", code: Int32(-result))
      }
      count += result
    }
    // All that was accepted has its room.
    try check("fsync \(path)") { fsync(file) }
    written = count
  }

  package func expectTrue(within tolerance: Int, _ when: String) throws {
    guard abs(announced - written) <= tolerance else {
      throw TestFailure(
        "\(when): \(announced) bytes were called available, \(written) could be written, and "
          + "\(tolerance) is the most that may lie between")
    }
  }
}
