import Glibc

/// Operations that make, move and remove names.
extension OperationSequence {
  func create() -> String {
    let path = newPath()
    let mode = mode_t(random.pick([0o644, 0o600, 0o755, 0o4755, 0o2755, 0o444, 0o000]))
    // Never without O_EXCL on what is no file: a FIFO would be opened.
    let exclusive = random.oneIn(2) || model.kinds[path].map { $0 != .file } ?? false
    let flags = O_CREAT | O_RDWR | O_NOFOLLOW | O_NONBLOCK | (exclusive ? O_EXCL : 0)
    let descriptor = outcome { full(path).withCPath { open($0, flags, mode) } }
    if descriptor >= 0 {
      close(Int32(descriptor))
      model.add(path, .file)
    }
    return "create \(show(path)) 0\(String(mode, radix: 8))\(exclusive ? " exclusive" : "") = "
      + resultText(min(descriptor, 0))
  }

  func makeDirectory() -> String {
    let path = newPath()
    let mode = mode_t(random.pick([0o755, 0o700, 0o2775, 0o1777]))
    let result = outcome { full(path).withCPath { mkdir($0, mode) } }
    if result == 0 { model.add(path, .directory) }
    return "mkdir \(show(path)) 0\(String(mode, radix: 8)) = \(resultText(result))"
  }

  func makeNode() -> String {
    let path = newPath()
    let type = random.pick([S_IFIFO, S_IFCHR, S_IFBLK, S_IFSOCK, S_IFREG])
    let isDevice = type == S_IFCHR || type == S_IFBLK
    let device =
      isDevice
      ? deviceNumber(
        major: random.below(4096), minor: random.below(random.oneIn(2) ? 256 : 1 << 20))
      : 0
    let result = outcome { full(path).withCPath { mknod($0, type | 0o640, device) } }
    if result == 0 { model.add(path, type == S_IFREG ? .file : .special) }
    return "mknod \(show(path)) 0\(String(type, radix: 8)) \(device) = \(resultText(result))"
  }

  func makeSymlink() -> String {
    let path = newPath()
    let length: Int
    switch random.below(8) {
    case 0: length = random.within(3800...4095)
    case 1: length = random.within(200...3800)
    default: length = random.within(1...60)
    }
    let target = (0..<length).map { _ in UInt8(ascii: "a") + UInt8(random.below(26)) }
    let result = outcome {
      BytePath(target).withCPath { target in full(path).withCPath { symlink(target, $0) } }
    }
    if result == 0 { model.add(path, .symlink) }
    return "symlink \(show(path)) of \(length) = \(resultText(result))"
  }

  func makeLink() -> String {
    let source = random.oneIn(15) ? anything() : existing(.file, .file, .symlink, .special)
    let target = newPath()
    let result = outcome {
      full(source).withCPath { source in full(target).withCPath { link(source, $0) } }
    }
    if result == 0, let kind = model.kinds[source] { model.add(target, kind) }
    return "link \(show(source)) \(show(target)) = \(resultText(result))"
  }

  func unlinkSomething() -> String {
    let path = random.oneIn(20) ? anything() : existing(.file, .symlink, .special)
    let result = outcome { full(path).withCPath { unlink($0) } }
    if result == 0 { model.remove(path) }
    return "unlink \(show(path)) = \(resultText(result))"
  }

  func removeDirectory() -> String {
    let path = random.oneIn(10) ? anything() : existing(.directory)
    if isProtected(path) { return "(keeps \(show(path)))" }
    let result = outcome { full(path).withCPath { rmdir($0) } }
    if result == 0 { model.remove(path) }
    return "rmdir \(show(path)) = \(resultText(result))"
  }

  func removeSubtree() -> String {
    let path = existing(.directory)
    if isProtected(path) || protected.contains(where: { $0.isInside(path) }) {
      return "(keeps \(show(path)))"
    }
    // Only little trees while there is room, or nothing large would ever grow.
    if model.count < options.entryLimit, case .success(let inside) = listing(path),
      inside.count > 10
    {
      return "(keeps \(show(path)) with \(inside.count) entries)"
    }
    var removed = 0
    let result = removeAll(path, &removed)
    return "remove tree \(show(path)) = \(removed) entries, \(resultText(result))"
  }

  private func removeAll(_ path: BytePath, _ removed: inout Int) -> Int {
    let kind = model.kinds[path]
    let isDirectory = kind?.isDirectory ?? false
    if isDirectory {
      guard case .success(let entries) = listing(path) else { return -Int(EIO) }
      for name in entries {
        let result = removeAll(path.appending(name), &removed)
        if result < 0 { return result }
      }
    }
    let result = outcome {
      full(path).withCPath { isDirectory ? rmdir($0) : unlink($0) }
    }
    if result == 0 {
      model.remove(path)
      removed += 1
    }
    return result
  }

  private func listing(_ path: BytePath) -> Result<[[UInt8]], SystemError> {
    Result { () throws(SystemError) in try directoryNames(full(path)) }
  }

  func renameSomething() -> String {
    let source = anything()
    let target = random.oneIn(3) ? anything() : newPath()
    if isProtected(source) || isProtected(target) { return "(keeps \(show(source)))" }
    var flags = random.pick(
      [0, 0, 0, Linux.renameNoReplace, Linux.renameExchange, Linux.renameWhiteout])
    // fsmount leaves no whiteout in a subvolume's place.
    if flags == Linux.renameWhiteout, model.kinds[source] == .subvolume { flags = 0 }
    let here = Linux.currentDirectory
    let result = outcome {
      full(source).withCPath { source in
        full(target).withCPath { Linux.renameat2(here, source, here, $0, flags) }
      }
    }
    if result == 0, source != target {
      var status = stat()
      if flags == Linux.renameExchange {
        model.exchange(source, target)
      } else if flags == Linux.renameWhiteout {
        full(source).withCPath { _ = lstat($0, &status) }
        if status.st_mode & S_IFMT == S_IFCHR && status.st_rdev == 0 {
          model.move(source, to: target)
          model.add(source, .special)
        }
      } else if full(source).withCPath({ lstat($0, &status) }) != 0 {
        // Between two names of one file rename does nothing, and both stay.
        model.move(source, to: target)
      }
    }
    return "rename \(show(source)) \(show(target)) flags \(flags) = \(resultText(result))"
  }

  /// Enough long names for one file that its references no longer fit one item.
  func linkBurst() -> String {
    let source = existing(.file)
    let place = directory()
    let count = random.within(10...110)
    let stem = [UInt8](repeating: UInt8(ascii: "A") + UInt8(random.below(26)), count: 200)
    var made: [BytePath] = []
    var result = 0
    for index in 0..<count where result == 0 {
      let target = place.appending(stem + Array("-\(index)".utf8))
      result = outcome {
        full(source).withCPath { source in full(target).withCPath { link(source, $0) } }
      }
      if result == 0 { made.append(target) }
    }
    var status = stat()
    _ = full(source).withCPath { lstat($0, &status) }
    let links = status.st_nlink
    // Some stay, and are then part of the tree like any other.
    let kept = random.below(8)
    made.shuffle(using: &random)
    var removed = 0
    for (index, path) in made.enumerated() {
      if index < kept {
        model.add(path, .file)
      } else if full(path).withCPath({ unlink($0) }) == 0 {
        removed += 1
      }
    }
    return "link burst \(show(source)) in \(show(place)) \(count): made \(made.count), "
      + "\(links) links, removed \(removed) = \(resultText(result))"
  }

  /// Leaves that fill and empty.
  func createBurst() -> String {
    let place = directory()
    let count = random.within(20...200)
    let stem = "burst\(random.below(1000))-"
    var made: [BytePath] = []
    var result = 0
    for index in 0..<count where result >= 0 {
      let path = place.appending("\(stem)\(index)")
      result = outcome { full(path).withCPath { open($0, O_CREAT | O_EXCL | O_WRONLY, 0o640) } }
      if result >= 0 {
        made.append(path)
        random.fillNonZero(UnsafeMutableRawBufferPointer(rebasing: buffer[..<200]))
        let written = outcome { write(Int32(result), buffer.baseAddress, 1 + index % 200) }
        close(Int32(result))
        if written < 0 { result = written }
      }
    }
    let kept = random.below(5)
    made.shuffle(using: &random)
    var removed = 0
    for (index, path) in made.enumerated() {
      if index < kept {
        model.add(path, .file)
      } else if full(path).withCPath({ unlink($0) }) == 0 {
        removed += 1
      }
    }
    return "create burst in \(show(place)) \(count): made \(made.count), removed \(removed) = "
      + resultText(min(result, 0))
  }

  /// Paths that cannot be: too long a name, a file used as a directory, nothing there.
  func wrongPath() -> String {
    let tooLong = [UInt8](repeating: UInt8(ascii: "x"), count: 256)
    let path: BytePath
    switch random.below(3) {
    case 0: path = directory().appending(tooLong)
    case 1: path = existing(.file).appending("below")
    default: path = directory().appending("missing").appending("below")
    }
    let other = anything()
    var status = stat()
    let results = [
      outcome { full(path).withCPath { open($0, O_CREAT | O_WRONLY | O_NONBLOCK, 0o644) } },
      outcome { full(path).withCPath { mkdir($0, 0o755) } },
      outcome { full(path).withCPath { lstat($0, &status) } },
      outcome { full(path).withCPath { unlink($0) } },
      outcome { full(path).withCPath { rmdir($0) } },
      outcome { full(other).withCPath { other in full(path).withCPath { link(other, $0) } } },
      isProtected(other)
        ? 0
        : outcome { full(other).withCPath { other in full(path).withCPath { rename(other, $0) } } },
    ]
    return "wrong path \(show(path)) = \(results.map(resultText).joined(separator: " "))"
  }
}
