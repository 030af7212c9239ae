import Glibc

/// A fresh directory that goes with its owner. What is still mounted below it is left alone:
/// removal never crosses into another file system.
package final class TemporaryDirectory: Sendable {
  package let path: String

  /// In `/dev/shm` when there is room for images there, else in `/tmp`.
  package convenience init(inMemory: Bool = false) throws {
    try self.init(in: inMemory && access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp")
  }

  package init(in base: String) throws {
    var template = Array("\(base)/fsmount-test.XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else {
      throw SystemError(what: "mkdtemp in \(base)", code: errno)
    }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  package func file(_ name: String) -> String { "\(path)/\(name)" }

  package func directory(_ name: String) throws -> String {
    let directory = file(name)
    try check("mkdir \(directory)") { mkdir(directory, 0o755) }
    return directory
  }

  deinit { removeTree(path) }
}

/// Removes a directory and all below it on the same file system; errors are ignored.
package func removeTree(_ path: String) {
  var root = stat()
  guard lstat(path, &root) == 0 else { return }
  removeTree(BytePath(path), device: root.st_dev)
}

private func removeTree(_ path: BytePath, device: dev_t) {
  var status = stat()
  guard path.withCPath({ lstat($0, &status) }) == 0, status.st_dev == device else { return }
  if status.st_mode & S_IFMT == S_IFDIR {
    for name in (try? directoryNames(path)) ?? [] {
      removeTree(path.appending(name), device: device)
    }
    _ = path.withCPath { rmdir($0) }
  } else {
    _ = path.withCPath { unlink($0) }
  }
}

/// The names in a directory, in the order the file system gives them, without `.` and `..`.
package func directoryNames(_ path: BytePath) throws(SystemError) -> [[UInt8]] {
  let reader = try DirectoryReader(path)
  var names: [[UInt8]] = []
  while let name = try reader.next() { names.append(name) }
  return names
}

/// The same, name by name.
package final class DirectoryReader {
  private let path: BytePath
  private let stream: OpaquePointer

  package init(_ path: BytePath) throws(SystemError) {
    guard let stream = path.withCPath({ opendir($0) }) else {
      throw SystemError(what: "opendir \(path)", code: errno)
    }
    self.path = path
    self.stream = stream
  }

  deinit { closedir(stream) }

  /// Nil at the end.
  package func next() throws(SystemError) -> [UInt8]? {
    while true {
      errno = 0
      guard let entry = readdir(stream) else {
        if errno != 0 { throw SystemError(what: "readdir \(path)", code: errno) }
        return nil
      }
      let name = withUnsafePointer(to: &entry.pointee.d_name) { tuple in
        tuple.withMemoryRebound(to: UInt8.self, capacity: 256) { bytes in
          Array(UnsafeBufferPointer(start: bytes, count: strnlen(tuple.pointer, 256)))
        }
      }
      if name != [0x2e] && name != [0x2e, 0x2e] { return name }
    }
  }
}

extension UnsafePointer {
  fileprivate var pointer: UnsafePointer<CChar> {
    UnsafeRawPointer(self).assumingMemoryBound(to: CChar.self)
  }
}
