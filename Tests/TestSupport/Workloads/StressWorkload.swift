import Glibc
import Synchronization

/// Many threads in the same directories, creating, renaming, linking, writing, reading and
/// removing the same names. Whatever a thread reads must be whole and right.
package final class StressWorkload: Sendable {
  package struct Options: Sendable {
    package var threads = 4
    package var seconds = 5.0
    package var seed: UInt64 = 1
    package var slots = 24
    package var directories = 4
    package var maximumFileSize = 128 << 10

    package init() {}
  }

  let options: Options
  let root: BytePath
  let recordsAppended = Atomic<Int>(0)
  private let operations = Atomic<Int>(0)
  private let failed = Atomic<Bool>(false)

  /// Works in a directory of its own, `stress` below `directory`.
  package init(directory: BytePath, options: Options) {
    self.options = options
    root = directory.appending("stress")
  }

  /// Returns the number of operations done; everything is removed again.
  @discardableResult
  package func run() throws -> Int {
    try check("mkdir \(root)") { root.withCPath { mkdir($0, 0o755) } }
    for index in 0..<options.directories {
      let path = root.appending("d\(index)")
      try check("mkdir \(path)") { path.withCPath { mkdir($0, 0o755) } }
    }
    let deadline = monotonicSeconds() + options.seconds
    try onThreads(options.threads) { index in
      do {
        let worker = try StressWorker(workload: self, index: index)
        while monotonicSeconds() < deadline, !self.failed.load(ordering: .relaxed) {
          try worker.step()
          self.operations.add(1, ordering: .relaxed)
        }
        try worker.verifyPrivateFile()
      } catch {
        // The others need not go on.
        self.failed.store(true, ordering: .relaxed)
        throw error
      }
    }
    try verifyRecords()
    try verifyRemaining()
    removeTree(root.string)
    var status = stat()
    guard root.withCPath({ lstat($0, &status) }) != 0 else {
      throw TestFailure("\(root) cannot be removed: \(try directoryNames(root).map(printable))")
    }
    return operations.load(ordering: .relaxed)
  }

  var recordFile: BytePath { root.appending("records") }
  static let recordSize = 64

  /// Every record that was appended is there once and whole.
  private func verifyRecords() throws {
    let expected = recordsAppended.load(ordering: .sequentiallyConsistent)
    let bytes = expected == 0 ? [] : try readFile(recordFile)
    guard bytes.count == expected * Self.recordSize else {
      throw TestFailure("\(recordFile) has \(bytes.count) bytes after \(expected) appended records")
    }
    try bytes.withUnsafeBytes { raw in
      for index in 0..<expected {
        let start = index * Self.recordSize
        let record = UnsafeRawBufferPointer(rebasing: raw[start..<start + Self.recordSize])
        // The buffer's start is aligned, and so is every record's.
        if let defect = SelfVerifyingFile.defect(in: record) {
          throw TestFailure("record \(index) of \(recordFile) \(defect)")
        }
      }
    }
  }

  private func verifyRemaining() throws {
    let buffer = UnsafeMutableRawBufferPointer.allocate(
      byteCount: options.maximumFileSize + 4096, alignment: 4096)
    defer { buffer.deallocate() }
    for index in 0..<options.directories {
      let directory = root.appending("d\(index)")
      for name in try directoryNames(directory) where name.starts(with: "slot".utf8) {
        guard try SelfVerifyingFile.verify(directory.appending(name), buffer: buffer) else {
          throw TestFailure("\(printable(name)) is listed in \(directory) and is not there")
        }
      }
    }
  }
}
