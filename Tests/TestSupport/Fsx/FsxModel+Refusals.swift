import Glibc

/// Operations that were refused for want of space.
extension FsxModel {
  /// A refused operation may have been carried out in part: what the file has in its range by now
  /// becomes the model's. All else must be as it was before.
  func adoptRefused(_ operation: FsxOperation, sizeBefore: Int) throws {
    guard let range = operation.range(size: sizeBefore) else {
      throw failure("no space for \(operation), which takes none")
    }
    var status = stat()
    try check("fstat") { fstat(descriptor, &status) }
    let now = Int(status.st_size)
    guard now >= sizeBefore, now <= max(sizeBefore, range.upperBound) else {
      throw failure(
        "the file has \(now) bytes after \(operation) was refused, before \(sizeBefore)")
    }
    size = now
    let changed = range.clamped(to: 0..<now)
    if !changed.isEmpty {
      let count = try check("read what was refused") {
        pread(
          descriptor, expected.baseAddress! + changed.lowerBound, changed.count, changed.lowerBound)
      }
      guard count == changed.count else { throw failure("\(count) bytes of \(changed) are there") }
    }
    UnsafeMutableRawBufferPointer(rebasing: expected[now...])
      .initializeMemory(as: UInt8.self, repeating: 0)
    try verifyWhole()
  }
}

extension FsxOperation {
  /// What the operation changes of a file of `size` bytes, where it may need space for that.
  fileprivate func range(size: Int) -> Range<Int>? {
    switch self {
    case .write(let offset, let length, let direct):
      // O_DIRECT is in whole sectors.
      direct
        ? offset & ~4095..<(offset + length + 8191) & ~4095 : offset..<offset + length
    case .append(let length): size..<size + length
    case .punchHole(let offset, let length), .zeroRange(let offset, let length, _),
      .allocate(let offset, let length, _), .mappedWrite(let offset, let length, _):
      offset..<offset + length
    case .truncate(let target): min(size, target)..<max(size, target)
    case .read, .mappedRead, .reopen, .sync, .remount: nil
    }
  }
}
