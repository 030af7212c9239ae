import Glibc

extension FsxModel {
  func perform(_ operation: FsxOperation) throws {
    switch operation {
    case .read(let offset, let length, let direct): try read(offset, length, direct: direct)
    case .mappedRead(let offset, let length): try mappedRead(offset, length)
    case .write(let offset, let length, let direct): try write(offset, length, direct: direct)
    case .append(let length): try append(length)
    case .mappedWrite(let offset, let length, let flush):
      try mappedWrite(offset, length, flush: flush)
    case .truncate(let size): try truncate(to: size)
    case .punchHole(let offset, let length):
      let mode = Linux.fallocatePunchHole | Linux.fallocateKeepSize
      try check("punch hole") { Linux.fallocate(descriptor, mode, offset, length) }
      zero(offset, length)
    case .zeroRange(let offset, let length, let keepSize):
      let mode = Linux.fallocateZeroRange | (keepSize ? Linux.fallocateKeepSize : 0)
      try check("zero range") { Linux.fallocate(descriptor, mode, offset, length) }
      zero(offset, length)
      if !keepSize { size = max(size, offset + length) }
    case .allocate(let offset, let length, let keepSize):
      let mode = keepSize ? Linux.fallocateKeepSize : 0
      try check("fallocate") { Linux.fallocate(descriptor, mode, offset, length) }
      if !keepSize { size = max(size, offset + length) }
    case .reopen: try reopen()
    case .sync(let dataOnly):
      try check("fsync") { dataOnly ? fdatasync(descriptor) : fsync(descriptor) }
    case .remount:
      try closeAll()
      try remount?()
      try openAll()
      try verifyWhole()
    }
  }

  private func read(_ offset: Int, _ length: Int, direct: Bool) throws {
    guard direct, directDescriptor >= 0 else {
      return try readAndCompare(offset, length, what: "read")
    }
    let start = offset & ~4095
    let wanted = min((offset + length + 4095) & ~4095 - start, scratch.count)
    let count = try check("direct read") {
      pread(directDescriptor, scratch.baseAddress, wanted, start)
    }
    try compare(scratch.baseAddress!, start, min(wanted, size - start), count, "direct read")
  }

  private func readAndCompare(_ offset: Int, _ length: Int, what: String) throws {
    let count = try check("pread") { pread(descriptor, scratch.baseAddress, length, offset) }
    try compare(scratch.baseAddress!, offset, min(length, size - offset), count, what)
  }

  private func mappedRead(_ offset: Int, _ length: Int) throws {
    let start = offset & ~4095
    let end = min(offset + length, size)
    let mapping = try map(start, end - start, PROT_READ)
    defer { munmap(mapping, end - start) }
    try compare(mapping, start, end - start, end - start, "mapped read")
    // The rest of the page that holds the end of the file reads as zero.
    if end == size, size & 4095 != 0 {
      let tail = UnsafeRawBufferPointer(
        start: mapping + (end - start), count: 4096 - (size & 4095))
      if let index = tail.firstIndex(where: { $0 != 0 }) {
        throw failure("mapped read: byte \(tail[index]) at \(size + index), beyond the end \(size)")
      }
    }
  }

  private func map(_ start: Int, _ length: Int, _ protection: Int32) throws(SystemError)
    -> UnsafeMutableRawPointer
  {
    let mapping = mmap(nil, length, protection, MAP_SHARED, descriptor, start)
    guard let mapping, mapping != MAP_FAILED else {
      throw SystemError(what: "mmap", code: errno)
    }
    return mapping
  }

  private func write(_ offset: Int, _ length: Int, direct: Bool) throws {
    var offset = offset
    var length = length
    var target = descriptor
    if direct, directDescriptor >= 0 {
      offset &= ~4095
      length = min((length + 4095) & ~4095, (options.maximumSize - offset) & ~4095)
      if length == 0 { return }
      target = directDescriptor
    }
    setExpected(offset, length)
    try writeAll("write", length) { done in
      pwrite(target, self.expected.baseAddress! + offset + done, length - done, offset + done)
    }
  }

  private func append(_ length: Int) throws {
    let appender = try check("open for appending") {
      path.withCPath { open($0, O_WRONLY | O_APPEND) }
    }
    defer { close(appender) }
    let offset = size
    setExpected(offset, length)
    try writeAll("append", length) { done in
      Glibc.write(appender, self.expected.baseAddress! + offset + done, length - done)
    }
  }

  private func writeAll(_ what: String, _ length: Int, _ call: (Int) -> Int) throws {
    var done = 0
    while done < length {
      let count = try check(what) { call(done) }
      guard count > 0 else { throw failure("\(what) returns 0") }
      done += count
    }
  }

  private func mappedWrite(_ offset: Int, _ length: Int, flush: Bool) throws {
    if offset + length > size {
      try check("ftruncate") { ftruncate(descriptor, offset + length) }
      size = offset + length
    }
    let start = offset & ~4095
    let mapped = offset + length - start
    let mapping = try map(start, mapped, PROT_READ | PROT_WRITE)
    defer { munmap(mapping, mapped) }
    setExpected(offset, length)
    memcpy(mapping + (offset - start), expected.baseAddress! + offset, length)
    if flush { try check("msync") { msync(mapping, mapped, Int32(MS_SYNC)) } }
  }

  private func truncate(to newSize: Int) throws {
    try check("ftruncate") { ftruncate(descriptor, newSize) }
    if newSize < size {
      UnsafeMutableRawBufferPointer(rebasing: expected[newSize..<size])
        .initializeMemory(as: UInt8.self, repeating: 0)
    }
    size = newSize
  }

  private func zero(_ offset: Int, _ length: Int) {
    let end = min(offset + length, size)
    guard offset < end else { return }
    UnsafeMutableRawBufferPointer(rebasing: expected[offset..<end])
      .initializeMemory(as: UInt8.self, repeating: 0)
  }

  private func setExpected(_ offset: Int, _ length: Int) {
    let bytes = UnsafeMutableRawBufferPointer(rebasing: expected[offset..<offset + length])
    if options.isCompressible, !random.oneIn(4) {
      random.fillCompressible(bytes)
    } else {
      random.fillNonZero(bytes)
    }
    size = max(size, offset + length)
  }

  // MARK: - Opening

  func openDirect() throws {
    guard options.usesDirectIO else { return }
    directDescriptor = try check("open with O_DIRECT") {
      path.withCPath { open($0, O_RDWR | Linux.openDirect) }
    }
  }

  private func reopen() throws {
    try closeAll()
    try openAll()
  }

  private func closeAll() throws {
    let code = outcome { close(descriptor) }
    descriptor = -1
    if directDescriptor >= 0 { close(directDescriptor) }
    directDescriptor = -1
    if code != 0 { throw SystemError(what: "close", code: Int32(-code)) }
  }

  private func openAll() throws {
    descriptor = try check("open \(path)") { path.withCPath { open($0, O_RDWR) } }
    try openDirect()
  }

  // MARK: - Comparison

  func verifySize() throws {
    var status = stat()
    try check("fstat") { fstat(descriptor, &status) }
    guard status.st_size == size else {
      throw failure("the file's size is \(status.st_size), expected \(size)")
    }
  }

  func verifyWhole() throws {
    try verifySize()
    var offset = 0
    while offset < size {
      try readAndCompare(offset, min(1 << 20, size - offset), what: "whole file")
      offset += 1 << 20
    }
  }

  private func compare(
    _ got: UnsafeRawPointer, _ offset: Int, _ wanted: Int, _ count: Int, _ what: String
  ) throws {
    guard count == wanted else {
      throw failure("\(what) at \(offset) returns \(count) bytes, expected \(wanted)")
    }
    guard memcmp(got, expected.baseAddress! + offset, wanted) != 0 else { return }
    let bytes = UnsafeRawBufferPointer(start: got, count: wanted)
    let wrong = (0..<wanted).filter { bytes[$0] != expected[offset + $0] }
    let first = wrong[0]
    let window = first..<min(first + 16, wanted)
    func hex(_ values: some Sequence<UInt8>) -> String {
      values.map { hexadecimal(UInt64($0), digits: 2) }.joined(separator: " ")
    }
    throw failure(
      """
      \(what): \(wrong.count) wrong bytes, at \(offset + first) ... \(offset + wrong.last!), \
      size \(size)
        expected \(hex(window.map { expected[offset + $0] }))
        got      \(hex(window.map { bytes[$0] }))
      """)
  }
}
