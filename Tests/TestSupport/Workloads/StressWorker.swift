import Glibc
import Synchronization

/// One thread of `StressWorkload`.
final class StressWorker {
  private let workload: StressWorkload
  private let index: Int
  private var random: SeededRandom
  private let buffer: UnsafeMutableRawBufferPointer
  /// The model of a file that only this thread writes.
  private let privateModel: UnsafeMutableRawBufferPointer
  private let privateFile: Int32
  private let records: Int32

  init(workload: StressWorkload, index: Int) throws {
    let path = workload.root.appending("private-\(index)")
    let shared = workload.recordFile
    let size = 256 << 10
    let privateFile = try check("create \(path)") {
      path.withCPath { open($0, O_CREAT | O_RDWR, 0o644) }
    }
    try check("ftruncate \(path)") { ftruncate(privateFile, size) }
    records = try check("open \(shared)") {
      shared.withCPath { open($0, O_CREAT | O_WRONLY | O_APPEND, 0o644) }
    }
    self.privateFile = privateFile
    self.workload = workload
    self.index = index
    random = SeededRandom(seed: workload.options.seed &* 1000 &+ UInt64(index))
    buffer = .allocate(byteCount: workload.options.maximumFileSize + 4096, alignment: 4096)
    privateModel = .allocate(byteCount: size, alignment: 4096)
    privateModel.initializeMemory(as: UInt8.self, repeating: 0)
  }

  deinit {
    close(privateFile)
    close(records)
    buffer.deallocate()
    privateModel.deallocate()
  }

  func step() throws {
    switch random.below(100) {
    case 0..<25: try publish()
    case 25..<50: _ = try SelfVerifyingFile.verify(slot(), buffer: buffer)
    case 50..<58:
      let path = slot()
      try tolerate("unlink \(path)", ENOENT) { path.withCPath { unlink($0) } }
    case 58..<63:
      let (source, target) = (slot(), slot())
      try tolerate("link \(source) \(target)", ENOENT, EEXIST) {
        source.withCPath { source in target.withCPath { link(source, $0) } }
      }
    case 63..<68:
      let (source, target) = (slot(), slot())
      let flags = random.pick([0, Linux.renameExchange, Linux.renameNoReplace])
      try tolerate("rename \(source) \(target)", ENOENT, EEXIST) {
        source.withCPath { source in
          target.withCPath {
            Linux.renameat2(Linux.currentDirectory, source, Linux.currentDirectory, $0, flags)
          }
        }
      }
    case 68..<73: try workOnDirectories()
    case 73..<76: try listDirectory()
    case 76..<92: try workOnPrivateFile()
    case 92..<99: try appendRecord()
    default:
      let file = privateFile
      try check("fsync") { fsync(file) }
    }
  }

  private func directory() -> BytePath {
    workload.root.appending("d\(random.below(workload.options.directories))")
  }

  private func slot() -> BytePath {
    directory().appending("slot\(random.below(workload.options.slots))")
  }

  /// Fails unless the call succeeds or is refused for a reason that others may have given it.
  private func tolerate(
    _ what: String, _ codes: Int32..., call: () -> Int32
  ) throws(SystemError) {
    let result = outcome(call)
    if result < 0, !codes.contains(Int32(-result)) {
      throw SystemError(what: what, code: Int32(-result))
    }
  }

  /// A file written under a name of our own and moved to one that all use.
  private func publish() throws {
    let temporary = directory().appending("new-\(index)")
    let length =
      SelfVerifyingFile.headerSize
      + random.below(random.oneIn(2) ? 3000 : workload.options.maximumFileSize)
    try SelfVerifyingFile.write(temporary, seed: random.next(), length: length, buffer: buffer)
    let target = slot()
    try check("rename \(temporary) \(target)") {
      temporary.withCPath { source in target.withCPath { rename(source, $0) } }
    }
    // Both names may have been links to one file, and then rename leaves both.
    try tolerate("unlink \(temporary)", ENOENT) { temporary.withCPath { unlink($0) } }
  }

  private func workOnDirectories() throws {
    let parent = directory()
    let path = parent.appending("sub\(random.below(6))")
    let inner = path.appending("file\(random.below(3))")
    switch random.below(4) {
    case 0: try tolerate("mkdir \(path)", EEXIST) { path.withCPath { mkdir($0, 0o755) } }
    case 1:
      try tolerate("rmdir \(path)", ENOENT, ENOTEMPTY) { path.withCPath { rmdir($0) } }
    case 2:
      let descriptor = outcome { inner.withCPath { open($0, O_CREAT | O_WRONLY, 0o644) } }
      if descriptor >= 0 { close(Int32(descriptor)) }
      try tolerate("create \(inner)", ENOENT) {
        errno = Int32(-min(descriptor, 0))
        return descriptor < 0 ? -1 : 0
      }
    default: try tolerate("unlink \(inner)", ENOENT) { inner.withCPath { unlink($0) } }
    }
  }

  private func listDirectory() throws {
    let path = directory()
    let names = try directoryNames(path)
    for name in names {
      let text = String(decoding: name, as: UTF8.self)
      guard ["slot", "new-", "sub"].contains(where: { text.hasPrefix($0) }) else {
        throw TestFailure("\(path) lists '\(printable(name))', which no thread made")
      }
    }
  }

  private func workOnPrivateFile() throws {
    let file = privateFile
    let offset = random.below(privateModel.count)
    let length = 1 + random.below(min(40_000, privateModel.count - offset))
    switch random.below(3) {
    case 0:
      let part = UnsafeMutableRawBufferPointer(rebasing: privateModel[offset..<offset + length])
      random.fillNonZero(part)
      let count = try check("pwrite") { pwrite(file, part.baseAddress, length, offset) }
      guard count == length else { throw TestFailure("pwrite of \(length) writes \(count)") }
    case 1:
      let mode = Linux.fallocatePunchHole | Linux.fallocateKeepSize
      try check("punch hole") { Linux.fallocate(file, mode, offset, length) }
      UnsafeMutableRawBufferPointer(rebasing: privateModel[offset..<offset + length])
        .initializeMemory(as: UInt8.self, repeating: 0)
    default: try comparePrivateFile(offset, length)
    }
  }

  private func comparePrivateFile(_ offset: Int, _ length: Int) throws {
    let part = min(length, buffer.count)
    let count = try check("pread") { pread(privateFile, buffer.baseAddress, part, offset) }
    guard count == part,
      memcmp(buffer.baseAddress!, privateModel.baseAddress! + offset, part) == 0
    else {
      throw TestFailure("private-\(index): \(part) bytes at \(offset) are not what was written")
    }
  }

  func verifyPrivateFile() throws {
    for offset in stride(from: 0, to: privateModel.count, by: 65536) {
      try comparePrivateFile(offset, min(65536, privateModel.count - offset))
    }
  }

  private func appendRecord() throws {
    let record = UnsafeMutableRawBufferPointer(rebasing: buffer[..<StressWorkload.recordSize])
    SelfVerifyingFile.fill(record, seed: random.next())
    let file = records
    let count = try check("append") { write(file, record.baseAddress, record.count) }
    guard count == record.count else { throw TestFailure("append writes \(count) bytes") }
    workload.recordsAppended.add(1, ordering: .sequentiallyConsistent)
  }
}
