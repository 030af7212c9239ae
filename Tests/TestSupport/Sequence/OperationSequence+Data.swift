import Glibc

/// Operations on the contents of files.
extension OperationSequence {
  /// What an operation on data is applied to: a file kept open, or one opened for it.
  private struct Target {
    let descriptor: Int32
    let label: String
    let isHandle: Bool
    let failure: Int
  }

  private func withTarget(
    _ flags: Int32, _ what: String, _ body: (Int32) -> String
  ) -> String {
    let target: Target
    if !handles.isEmpty, random.oneIn(2) {
      let handle = random.pick(handles)
      target = Target(
        descriptor: handle.descriptor, label: handle.label, isHandle: true, failure: 0)
    } else {
      let path = existing(.file)
      let descriptor = outcome {
        full(path).withCPath { open($0, flags | O_NOFOLLOW | O_NONBLOCK) }
      }
      target = Target(
        descriptor: Int32(max(descriptor, -1)), label: show(path), isHandle: false,
        failure: min(descriptor, 0))
    }
    guard target.failure == 0 else {
      return "\(what) \(target.label): open = \(resultText(target.failure))"
    }
    let text = body(target.descriptor)
    var closing = ""
    if !target.isHandle {
      let result = outcome { close(target.descriptor) }
      if result != 0 { closing = ", close = \(resultText(result))" }
    }
    return "\(what) \(target.label) \(text)\(closing)"
  }

  private func randomRange() -> (offset: Int, length: Int) {
    let limit = random.pick([4096, 16384, 131_072, options.maximumFileSize])
    var offset = random.below(limit)
    var length = 1 + random.below(min(limit, 65536))
    if random.oneIn(3) {
      offset &= ~4095
      length = (length + 4095) & ~4095
    }
    return (offset, length)
  }

  private func random(bytes length: Int) -> UnsafeRawBufferPointer {
    let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<length])
    random.fillNonZero(part)
    return UnsafeRawBufferPointer(part)
  }

  func writeSomething() -> String {
    withTarget(O_RDWR, "write") { descriptor in
      var (offset, length) = randomRange()
      if random.oneIn(50) { offset += 1 << 30 }
      let data = random(bytes: length)
      let result = outcome { pwrite(descriptor, data.baseAddress, length, offset) }
      return "\(offset)+\(length) = \(resultText(result))"
    }
  }

  func appendSomething() -> String {
    withTarget(O_WRONLY | O_APPEND, "append") { descriptor in
      let length = 1 + random.below(random.oneIn(3) ? 20_000 : 300)
      let data = random(bytes: length)
      var end = stat()
      fstat(descriptor, &end)
      // A handle has no O_APPEND, so its position says where the end is.
      lseek(descriptor, 0, SEEK_END)
      let result = outcome { write(descriptor, data.baseAddress, length) }
      return "\(length) at \(end.st_size) = \(resultText(result))"
    }
  }

  func truncateSomething() -> String {
    if random.oneIn(4) {
      let path = random.oneIn(5) ? anything() : existing(.file)
      let size = randomRange().offset
      // Through a path, which must not be followed out of the tree.
      guard model.kinds[path] != .symlink else { return "(leaves symlink \(show(path)))" }
      let result = outcome { full(path).withCPath { Glibc.truncate($0, size) } }
      return "truncate \(show(path)) \(size) = \(resultText(result))"
    }
    return withTarget(O_RDWR, "ftruncate") { descriptor in
      var size = randomRange().offset
      if random.oneIn(5) { size = 0 }
      if random.oneIn(30) { size += 1 << 30 }
      return "\(size) = \(resultText(outcome { ftruncate(descriptor, size) }))"
    }
  }

  func allocateSomething() -> String {
    withTarget(O_RDWR, "fallocate") { descriptor in
      let (offset, length) = randomRange()
      let keep = Linux.fallocateKeepSize
      let modes: [Int32] = [
        0, 0, keep, keep, Linux.fallocatePunchHole | keep, Linux.fallocatePunchHole | keep,
        Linux.fallocateZeroRange, Linux.fallocateZeroRange | keep, Linux.fallocateCollapseRange,
      ]
      var mode = random.pick(modes)
      if !options.allocatesBeyondTheEnd, mode & Linux.fallocatePunchHole == 0 { mode &= ~keep }
      let result = outcome { Linux.fallocate(descriptor, mode, offset, length) }
      if result == 0, mode & Linux.fallocatePunchHole != 0 {
        // Whether a hole in a hole changes the file depends on what the kernel remembers of it.
        let times = [timespec(tv_sec: 0, tv_nsec: 0x3fff_fffe), ExplicitTime.make(&random)]
        _ = futimens(descriptor, times)
      }
      return "mode \(mode) \(offset)+\(length) = \(resultText(result))"
    }
  }

  func readSomething() -> String {
    withTarget(O_RDONLY, "read") { descriptor in
      let (offset, length) = randomRange()
      let result = outcome { pread(descriptor, buffer.baseAddress, length, offset) }
      guard result > 0 else { return "\(offset)+\(length) = \(resultText(result))" }
      let hash = ContentHash.of(UnsafeRawBufferPointer(rebasing: buffer[..<result]))
      return "\(offset)+\(length) = \(result) \(hexadecimal(hash))"
    }
  }

  /// The whole of a file and its holes, once it is on the device.
  func compareContent() -> String {
    withTarget(O_RDWR, "content") { descriptor in
      let synced = outcome { fsync(descriptor) }
      var status = stat()
      fstat(descriptor, &status)
      do throws(SystemError) {
        let size = Int(status.st_size)
        let content = try FileReader.content(of: descriptor, size: size, path: BytePath("it"))
        var text = "\(resultText(synced)) size \(size) \(hexadecimal(content.hash))"
        if options.exactHoles {
          text += " in \(content.segments) segments \(hexadecimal(content.reportedMapHash))"
        }
        return text
      } catch {
        return "= \(error)"
      }
    }
  }

  /// Copies whole blocks within the file system: the kernel shares these, too. Its answers may be
  /// shorter or longer than ours, so it is asked until all is done.
  func copyRange() -> String {
    let source = existing(.file)
    let opened = outcome { full(source).withCPath { open($0, O_RDONLY | O_NOFOLLOW | O_NONBLOCK) } }
    guard opened >= 0 else { return "copy \(show(source)): open = \(resultText(opened))" }
    defer { close(Int32(opened)) }
    return withTarget(O_RDWR, "copy \(show(source)) to") { descriptor in
      let from = random.oneIn(2) ? 0 : randomRange().offset & ~4095
      let to = random.oneIn(3) ? 0 : randomRange().offset & ~4095
      let length = random.oneIn(2) ? 1 << 18 : (randomRange().length + 4095) & ~4095
      var done = 0
      while done < length {
        let count = Linux.copyFileRange(
          Int32(opened), at: from + done, to: descriptor, at: to + done, length: length - done)
        if count < 0 {
          return "\(from)+\(length) at \(to) = \(errorName(Int32(-count))) after \(done)"
        }
        if count == 0 { break }
        done += count
      }
      return "\(from)+\(length) at \(to) = \(done)"
    }
  }

  func syncSomething() -> String {
    if random.oneIn(3) {
      let path = directory()
      let descriptor = outcome { full(path).withCPath { open($0, O_RDONLY | O_DIRECTORY) } }
      guard descriptor >= 0 else { return "fsync \(show(path)): open = \(resultText(descriptor))" }
      defer { close(Int32(descriptor)) }
      return "fsync \(show(path)) = \(resultText(outcome { fsync(Int32(descriptor)) }))"
    }
    return withTarget(O_RDWR, "fsync") { descriptor in
      "= \(resultText(outcome { fsync(descriptor) }))"
    }
  }

  func openHandle() -> String {
    guard handles.count < 6 else { return closeHandle() }
    let path = existing(.file)
    let descriptor = outcome { full(path).withCPath { open($0, O_RDWR | O_NOFOLLOW | O_NONBLOCK) } }
    guard descriptor >= 0 else { return "open \(show(path)) = \(resultText(descriptor))" }
    handlesOpened += 1
    handles.append(Handle(descriptor: Int32(descriptor), label: "#\(handlesOpened)"))
    return "open \(show(path)) as #\(handlesOpened)"
  }

  func closeHandle() -> String {
    guard !handles.isEmpty else { return "(nothing to close)" }
    let handle = handles.remove(at: random.below(handles.count))
    return "close \(handle.label) = \(resultText(outcome { close(handle.descriptor) }))"
  }
}
