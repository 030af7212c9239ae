import Glibc

/// An exerciser in the manner of fsx: random operations on one file, every byte compared with a
/// model in memory.
///
/// Invariants of the model: 1. `expected[0 ..< size]` is the file. 2. `expected[size...]` is zero.
package final class FsxModel {
  let options: FsxOptions
  let path: BytePath
  let remount: (() throws -> Void)?
  var random: SeededRandom
  var descriptor: Int32 = -1
  var directDescriptor: Int32 = -1
  var size = 0
  let expected: UnsafeMutableRawBufferPointer
  let scratch: UnsafeMutableRawBufferPointer
  var log: [String] = []
  package private(set) var number = 0
  package private(set) var counts: [String: Int] = [:]
  /// Operations for which there was no space.
  package private(set) var refusals = 0

  /// `remount` unmounts and mounts the file system again; the file is closed around it.
  package init(
    directory: BytePath, name: String = "fsx", options: FsxOptions,
    remount: (() throws -> Void)? = nil
  ) throws {
    self.options = options
    self.remount = remount
    path = directory.appending(name)
    random = SeededRandom(seed: options.seed)
    expected = .allocate(byteCount: options.maximumSize, alignment: 4096)
    scratch = .allocate(byteCount: max(options.maximumTransfer, 1 << 20) + 8192, alignment: 4096)
    expected.initializeMemory(as: UInt8.self, repeating: 0)
    descriptor = try check("create \(path)") {
      path.withCPath { open($0, O_RDWR | O_CREAT | O_TRUNC, 0o644) }
    }
    try openDirect()
  }

  /// Lets go of the file, so that the file system can be unmounted.
  package func closeFile() {
    if descriptor >= 0 { close(descriptor) }
    if directDescriptor >= 0 { close(directDescriptor) }
    descriptor = -1
    directDescriptor = -1
  }

  deinit {
    closeFile()
    expected.deallocate()
    scratch.deallocate()
  }

  /// Ends early when `mustStop` says so.
  package func run(until mustStop: () -> Bool = { false }) throws {
    while number < options.operations, !mustStop() {
      number += 1
      let operation = nextOperation()
      note(operation)
      let sizeBefore = size
      do {
        do {
          try perform(operation)
        } catch let error as SystemError where options.mayLackSpace && error.code == ENOSPC {
          refusals += 1
          try adoptRefused(operation, sizeBefore: sizeBefore)
        }
        try verifySize()
        if number % 1_000 == 0 { try verifyWhole() }
      } catch let error as SystemError {
        throw failure("\(error)")
      }
    }
    do { try verifyWhole() } catch let error as SystemError { throw failure("\(error)") }
  }

  private func note(_ operation: FsxOperation) {
    if log.count >= 2 * options.logLength { log.removeFirst(options.logLength) }
    log.append("\(number): \(operation), size \(size)")
    let name = "\(operation)".prefix { !$0.isNumber && $0 != "," }
    counts[String(name), default: 0] += 1
  }

  func failure(_ finding: String) -> TestFailure {
    let recent = log.suffix(options.logLength).joined(separator: "\n")
    return TestFailure(
      "fsx seed \(options.seed), operation \(number) on \(path): \(finding)\n"
        + "the operations before it, the newest last:\n\(recent)")
  }

  // MARK: - Choice of operations

  private func nextOperation() -> FsxOperation {
    if remount != nil, random.oneIn(options.remountInterval) { return .remount }
    if random.oneIn(options.syncInterval) { return .sync(dataOnly: random.oneIn(2)) }
    let direct = options.usesDirectIO && random.oneIn(3)
    switch random.below(100) {
    case 0..<22:
      let (offset, length) = range(within: size)
      return length == 0
        ? writeOperation(direct) : .read(offset: offset, length: length, direct: direct)
    case 22..<34:
      let (offset, length) = range(within: size)
      guard options.usesMapping, length > 0 else { return writeOperation(direct) }
      return .mappedRead(offset: offset, length: length)
    case 34..<56: return writeOperation(direct)
    case 56..<60:
      let room = min(options.maximumTransfer, options.maximumSize - size)
      return room == 0
        ? .truncate(size: random.below(size)) : .append(length: 1 + random.below(room))
    case 60..<72:
      let (offset, length) = range(within: options.maximumSize)
      guard options.usesMapping else { return writeOperation(direct) }
      return .mappedWrite(offset: offset, length: max(length, 1), flush: random.oneIn(8))
    case 72..<80: return .truncate(size: truncationTarget())
    case 80..<87:
      let (offset, length) = range(within: options.maximumSize)
      return .punchHole(offset: offset, length: max(length, 1))
    case 87..<92:
      let (offset, length) = range(within: options.maximumSize)
      return .zeroRange(offset: offset, length: max(length, 1), keepSize: random.oneIn(2))
    case 92..<98:
      let (offset, length) = range(within: options.maximumSize)
      return .allocate(offset: offset, length: max(length, 1), keepSize: random.oneIn(2))
    default: return .reopen
    }
  }

  private func writeOperation(_ direct: Bool) -> FsxOperation {
    let (offset, length) = range(within: options.maximumSize)
    return .write(offset: offset, length: max(length, 1), direct: direct)
  }

  private func truncationTarget() -> Int {
    switch random.below(4) {
    case 0: min(options.maximumSize, size + random.below(65536))
    case 1: max(0, size - random.below(8192))
    case 2: random.below(options.maximumSize / 4096 + 1) * 4096
    default: random.below(options.maximumSize + 1)
    }
  }

  /// A range below `limit`: any, or with block-aligned edges, or a small one.
  private func range(within limit: Int) -> (offset: Int, length: Int) {
    guard limit > 0 else { return (0, 0) }
    var offset = random.below(limit)
    var length = 1 + random.below(random.oneIn(3) ? 600 : options.maximumTransfer)
    if random.oneIn(4) {
      offset &= ~4095
      length = (length + 4095) & ~4095
    } else if random.oneIn(6) {
      // Small files and inline extents matter as well.
      offset = random.below(min(limit, 4096))
      length = 1 + random.below(4096)
    }
    return (offset, min(length, limit - offset))
  }
}
