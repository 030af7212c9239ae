import Glibc
import Synchronization

/// Fills a file system until it has no room, empties half of it, and so on, over and over. Every
/// byte that a write accepted must be there, whatever was refused.
///
/// 1. A file's model is its seed and how many bytes were accepted, in the order in which they were
///    written; a part that is written anew gets the same bytes.
/// 2. Between rounds no thread works, and all files are compared.
package final class FillWorkload: Sendable {
  package struct Options: Sendable {
    package var writers = 4
    package var rounds = 15
    package var seed: UInt64 = 1
    /// A file has up to this many bytes.
    package var largest = 5 << 20
    /// One file in so many is preallocated; 0 for none.
    package var preallocated = 4
    /// One file in so many is synchronized.
    package var synchronized = 5
    /// One file in so many is written with O_DIRECT.
    package var direct = 6
    /// A writer ends after so many refusals in a round.
    package var refusals = 3

    package init() {}
  }

  /// What happened, for a summary.
  package struct Counts: Sendable {
    package var files = 0
    package var bytes = 0
    package var refusals = 0
    /// Writes into preallocated space that were refused.
    package var refusedInPreallocated = 0
    package var removed = 0
    package var cut = 0
  }

  /// A file as it must be.
  struct Model: Sendable {
    let path: BytePath
    let seed: UInt64
    var accepted: Int
    /// Its size: more than what was accepted when it was preallocated; zeros follow then.
    var size: Int
  }

  let options: Options
  let root: BytePath
  /// By writer.
  private let models: Mutex<[[Model]]>
  private let total = Mutex(Counts())

  package init(directory: BytePath, options: Options) {
    self.options = options
    root = directory
    models = Mutex([[Model]](repeating: [], count: options.writers))
  }

  package var counts: Counts { total.withLock { $0 } }

  /// Makes the directories. Once, before the first round.
  package func begin() throws {
    for writer in 0..<options.writers {
      let path = folder(writer)
      try check("mkdir \(path)") { path.withCPath { mkdir($0, 0o755) } }
    }
  }

  func folder(_ writer: Int) -> BytePath { root.appending("writer-\(writer)") }

  /// Fills to the end, and compares all files.
  package func fill(round: Int) throws {
    try onThreads(options.writers) { index in
      let writer = FillWriter(self, index: index, round: round)
      defer { self.add(writer.counts) }
      try writer.run { model in self.models.withLock { $0[index].append(model) } }
    }
    try verify()
  }

  private func add(_ counts: Counts) {
    total.withLock { total in
      total.files += counts.files
      total.bytes += counts.bytes
      total.refusals += counts.refusals
      total.refusedInPreallocated += counts.refusedInPreallocated
      total.removed += counts.removed
      total.cut += counts.cut
    }
  }

  /// Compares every file with its model.
  package func verify() throws {
    try onThreads(options.writers) { index in
      let buffer = UnsafeMutableRawBufferPointer.allocate(
        byteCount: self.options.largest + (2 << 20), alignment: 4096)
      let expected = UnsafeMutableRawBufferPointer.allocate(
        byteCount: self.options.largest + (2 << 20), alignment: 4096)
      defer {
        buffer.deallocate()
        expected.deallocate()
      }
      for model in self.models.withLock({ $0[index] }) {
        try self.verify(model, buffer, expected)
      }
    }
  }

  private func verify(
    _ model: Model, _ buffer: UnsafeMutableRawBufferPointer,
    _ expected: UnsafeMutableRawBufferPointer
  ) throws {
    let descriptor = try check("open \(model.path)") { model.path.withCPath { open($0, O_RDONLY) } }
    defer { close(descriptor) }
    var count = 0
    while count < buffer.count {
      let part = try check("read \(model.path)") {
        read(descriptor, buffer.baseAddress! + count, buffer.count - count)
      }
      if part == 0 { break }
      count += part
    }
    guard count == model.size else {
      throw TestFailure("\(model.path) has \(count) bytes and should have \(model.size)")
    }
    FillWriter.content(model.seed, into: expected)
    guard memcmp(buffer.baseAddress!, expected.baseAddress!, model.accepted) == 0 else {
      let offset = (0..<model.accepted).first { buffer[$0] != expected[$0] } ?? 0
      throw TestFailure(
        "\(model.path) is wrong from byte \(offset) on, of \(model.accepted) that were accepted")
    }
    // A write that was refused may have been carried out in part.
    guard (model.accepted..<count).allSatisfy({ buffer[$0] == 0 || buffer[$0] == expected[$0] })
    else {
      throw TestFailure("\(model.path) has other bytes beyond \(model.accepted)")
    }
  }

  /// Removes files at random, each with a chance of one in `share`, and cuts one in six of the others
  /// off somewhere. Both must always be possible.
  package func remove(oneIn share: Int, round: Int) throws {
    try onThreads(options.writers) { index in
      var random = SeededRandom(seed: self.options.seed &* 31 &+ UInt64(round * 64 + index))
      var kept: [Model] = []
      var (removed, cut) = (0, 0)
      for var model in self.models.withLock({ $0[index] }) {
        guard random.oneIn(share) else {
          if model.size > 0, random.oneIn(6) {
            let size = random.below(model.size)
            try check("truncate \(model.path) on a full volume") {
              model.path.withCPath { truncate($0, size) }
            }
            (model.size, model.accepted) = (size, min(model.accepted, size))
            cut += 1
          }
          kept.append(model)
          continue
        }
        try check("unlink \(model.path) on a full volume") { model.path.withCPath { unlink($0) } }
        removed += 1
      }
      self.models.withLock { $0[index] = kept }
      self.total.withLock {
        $0.removed += removed
        $0.cut += cut
      }
    }
  }

  /// Writes a part of some files again, after a part of all was removed: there is room now.
  package func overwrite(round: Int) throws {
    try onThreads(options.writers) { index in
      let writer = FillWriter(self, index: index, round: round)
      for model in self.models.withLock({ $0[index] }).prefix(8) where model.accepted > 0 {
        try writer.overwrite(model)
      }
    }
  }
}
