import Glibc

/// Loop devices of the kernel, which show the content of image files and may be mounted.
package enum LoopDevices {
  /// The loop device, `/dev/loop3`, that the file with this status is attached to; nil when
  /// there is none. Anybody may ask.
  package static func attached(to status: stat) -> String? {
    guard status.st_mode & S_IFMT == S_IFREG, let directory = opendir("/sys/block") else {
      return nil
    }
    defer { closedir(directory) }
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { tuple in
        tuple.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      guard name.hasPrefix("loop"), let file = line("/sys/block/\(name)/loop/backing_file")
      else { continue }
      var backing = stat()
      if stat(file, &backing) == 0, backing.st_dev == status.st_dev,
        backing.st_ino == status.st_ino
      {
        return "/dev/\(name)"
      }
    }
    return nil
  }

  /// The first line of a small file.
  private static func line(_ path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = read(descriptor, &bytes, bytes.count)
    guard count > 0 else { return nil }
    return String(decoding: bytes[..<count].prefix { $0 != 0x0a }, as: UTF8.self)
  }
}
