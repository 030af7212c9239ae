import Glibc

/// Operations on attributes, extended ones included, and on what a directory lists.
extension OperationSequence {
  func setAttribute() -> String {
    let path = anything()
    let name = names.attributeName(&random)
    let isColliding = names.collidingAttributes.contains(name)
    let length: Int
    switch random.below(12) {
    case 0 where !isColliding: length = random.within(1000...4200)
    case 1 where !isColliding: length = random.within(10_000...20_000)
    case 2: length = 0
    default: length = random.within(1...100)
    }
    let flags = Int32(random.pick([0, 0, 1, 2]))
    random.fillNonZero(UnsafeMutableRawBufferPointer(rebasing: buffer[..<length]))
    let result = outcome {
      full(path).withCPath { path in
        BytePath(name).withCPath { Linux.lsetxattr(path, $0, buffer.baseAddress, length, flags) }
      }
    }
    return "setxattr \(show(path)) \(printable(name)) \(length) flags \(flags) = "
      + resultText(result)
  }

  /// Mostly one that is there.
  private func someAttribute(of path: BytePath) -> [UInt8] {
    let present = (try? ExtendedAttributes.names(full(path))) ?? []
    if !present.isEmpty, !random.oneIn(4) { return present[random.below(present.count)] }
    return names.attributeName(&random)
  }

  func removeAttribute() -> String {
    let path = anything()
    let name = someAttribute(of: path)
    let result = outcome {
      full(path).withCPath { path in
        BytePath(name).withCPath { Linux.lremovexattr(path, $0) }
      }
    }
    return "removexattr \(show(path)) \(printable(name)) = \(resultText(result))"
  }

  func getAttribute() -> String {
    let path = anything()
    let name = someAttribute(of: path)
    // Now and then too small a buffer, or none, which asks for the size.
    let room = random.pick([65536, 65536, 10, 0])
    let result = outcome {
      full(path).withCPath { path in
        BytePath(name).withCPath { Linux.lgetxattr(path, $0, buffer.baseAddress, room) }
      }
    }
    guard result > 0, room > 0 else {
      return "getxattr \(show(path)) \(printable(name)) \(room) = \(resultText(result))"
    }
    let hash = ContentHash.of(UnsafeRawBufferPointer(rebasing: buffer[..<result]))
    return "getxattr \(show(path)) \(printable(name)) \(room) = \(result) \(hexadecimal(hash))"
  }

  func listAttributes() -> String {
    let path = anything()
    do throws(SystemError) {
      let list = try ExtendedAttributes.names(full(path))
      return "listxattr \(show(path)) = \(list.map(printable).joined(separator: " "))"
    } catch {
      return "listxattr \(show(path)) = \(errorName(error.code))"
    }
  }

  func changeMode() -> String {
    let path = existing(.directory, .file, .special)
    let mode = mode_t(
      random.oneIn(3) ? random.below(0o10000) : random.pick([0o644, 0o755, 0o2755]))
    let result = outcome { full(path).withCPath { chmod($0, mode) } }
    return "chmod \(show(path)) 0\(String(mode, radix: 8)) = \(resultText(result))"
  }

  func changeOwner() -> String {
    let path = anything()
    let choices: [UInt32] = [0, 1000, 65534, 100_000, .max]
    let owner = random.pick(choices)
    let group = random.pick(choices)
    let result = outcome { full(path).withCPath { lchown($0, owner, group) } }
    return "chown \(show(path)) \(owner):\(group) = \(resultText(result))"
  }

  func setTimes() -> String {
    let path = anything()
    let omit = timespec(tv_sec: 0, tv_nsec: 0x3fff_fffe)
    let now = timespec(tv_sec: 0, tv_nsec: 0x3fff_ffff)
    let modified = ExplicitTime.make(&random)
    var times = [ExplicitTime.make(&random), modified]
    switch random.below(8) {
    case 0: times[0] = omit
    case 1: times[1] = omit
    case 2: times[1] = now
    default: break
    }
    let result = outcome {
      full(path).withCPath { utimensat(Linux.currentDirectory, $0, times, Linux.noFollow) }
    }
    return "utimens \(show(path)) \(ExplicitTime.text(times[1])) = \(resultText(result))"
  }

  func status() -> String {
    var status = stat()
    if !handles.isEmpty, random.oneIn(4) {
      let handle = random.pick(handles)
      let result = outcome { fstat(handle.descriptor, &status) }
      return "fstat \(handle.label) = \(result == 0 ? text(status) : resultText(result))"
    }
    let path = anything()
    let result = outcome { full(path).withCPath { lstat($0, &status) } }
    return "stat \(show(path)) = \(result == 0 ? text(status) : resultText(result))"
  }

  private func text(_ status: stat) -> String {
    let modified = ExplicitTime.of(status.st_mtim).map(ExplicitTime.text) ?? "-"
    return "0\(String(status.st_mode, radix: 8)) links \(status.st_nlink) "
      + "\(status.st_uid):\(status.st_gid) size \(status.st_size) rdev \(status.st_rdev) "
      + "mtime \(modified)"
  }

  func listDirectory() -> String {
    let path = random.oneIn(10) ? anything() : existing(.directory)
    do throws(SystemError) {
      let list = try directoryNames(full(path))
      var hash = ContentHash()
      for name in list { hash.add(name) }
      let shown = list.count > 8 ? "" : " " + list.map(printable).joined(separator: " ")
      return "readdir \(show(path)) = \(list.count) \(hexadecimal(hash.value))\(shown)"
    } catch {
      return "readdir \(show(path)) = \(errorName(error.code))"
    }
  }

  func readSymlink() -> String {
    let path = random.oneIn(5) ? anything() : existing(.symlink)
    let result = outcome {
      full(path).withCPath {
        readlink($0, buffer.baseAddress!.assumingMemoryBound(to: CChar.self), 4096)
      }
    }
    guard result > 0 else { return "readlink \(show(path)) = \(resultText(result))" }
    let hash = ContentHash.of(UnsafeRawBufferPointer(rebasing: buffer[..<result]))
    return "readlink \(show(path)) = \(result) \(hexadecimal(hash))"
  }
}
