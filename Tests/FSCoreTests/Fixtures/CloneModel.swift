import Glibc
import TestSupport
import Testing

@testable import FSCore

/// Files beside arrays of the bytes that they must hold, with clones among them and snapshots beside
/// them.
struct CloneModel {
  struct File {
    var id: InodeID
    var path: String
    var bytes: [UInt8]
  }

  /// Nil between two mounts.
  var volume: Volume!
  var files: [File] = []
  var random: SeededRandom
  var snapshots: [String] = []
  private var made = 0
  private var history: [String] = []
  static let largest: UInt64 = 400_000

  init(_ volume: Volume, seed: UInt64) {
    self.volume = volume
    random = SeededRandom(testSeed: seed)
  }

  mutating func add(_ path: String, flags: InodeFlags = []) throws {
    let id = try volume.makeFile(path)
    if !flags.isEmpty { try volume.addFlags(id, flags) }
    files.append(File(id: id, path: path, bytes: []))
  }

  /// One that somebody else has made.
  mutating func adopt(_ path: String) throws {
    let id = try volume.find(path)
    let bytes = try volume.readBytes(id, at: 0, count: 64 << 20)
    files.append(File(id: id, path: path, bytes: bytes))
  }

  mutating func step() throws {
    let index = random.below(files.count)
    switch random.below(20) {
    case 0...4: try write(index)
    case 5...13: try copy(index)
    case 14: try truncate(index)
    case 15: try allocate(index, .punchHole)
    case 16: try allocate(index, random.oneIn(2) ? .plain : .keepSize)
    case 17: try allocate(index, .zeroRange)
    case 18:
      note("flush")
      volume.files.flush(try volume.content.file(files[index].id))
    default:
      if random.oneIn(5) { try snapshot() } else if random.oneIn(4) { try volume.commit() }
    }
  }

  private mutating func note(_ text: String) {
    history.append(text)
    if history.count > 60 { history.removeFirst() }
  }

  private mutating func range(within bound: UInt64) -> Range<UInt64> {
    var start = random.below(max(bound, 1))
    if random.below(3) > 0 { start = start.roundedDown(to: 4096) }
    if random.oneIn(5) { start = 0 }
    var length = 1 + random.below(random.oneIn(3) ? Self.largest : 20_000)
    if random.below(3) > 0 { length = length.roundedUp(to: 4096) }
    return start..<max(start, min(start + length, Self.largest))
  }

  private mutating func write(_ index: Int) throws {
    let range = range(within: Self.largest - 1)
    guard !range.isEmpty else { return }
    note("write \(range) of \(index)")
    let data = random.bytes(Int(range.upperBound - range.lowerBound))
    try volume.writeBytes(files[index].id, at: range.lowerBound, data)
    put(data, at: Int(range.lowerBound), index)
  }

  private mutating func put(_ data: [UInt8], at offset: Int, _ index: Int) {
    extend(index, to: offset + data.count)
    files[index].bytes.replaceSubrange(offset..<(offset + data.count), with: data)
  }

  private mutating func extend(_ index: Int, to end: Int) {
    let missing = end - files[index].bytes.count
    if missing > 0 { files[index].bytes += [UInt8](repeating: 0, count: missing) }
  }

  /// Copies a range, by as many calls as it takes; often one that can be shared.
  private mutating func copy(_ index: Int) throws {
    let source = random.below(files.count)
    let size = UInt64(files[source].bytes.count)
    guard size > 0 else { return }
    let from = range(within: size)
    guard !from.isEmpty else { return }
    var to = random.below(Self.largest - (from.upperBound - from.lowerBound) + 1)
    switch random.below(4) {
    case 0: break
    case 1: to = from.lowerBound
    default:
      to = to.roundedDown(to: 4096) + from.lowerBound % 4096
      if random.oneIn(4) { to = to % 4096 }
    }
    var length =
      random.oneIn(3) ? size - min(size, from.lowerBound) : from.upperBound - from.lowerBound
    guard length > 0, to + length <= Self.largest + 4096 else { return }
    note("copy \(from.lowerBound) +\(length) of \(source) to \(to) of \(index)")

    let isOverlap =
      source == index && from.lowerBound < to + length && to < from.lowerBound + length
    var done: UInt64 = 0
    let expected = min(length, size - min(size, from.lowerBound))
    // Else the source grows while it is copied.
    if source == index, !isOverlap { length = expected }
    while true {
      let (source, target) = (files[source].id, files[index].id)
      let next = (from: from.lowerBound + done, to: to + done, length: length - done)
      var count: UInt64 = 0
      let code = errorNumber {
        count = try volume.content.copy(
          source, at: next.from, to: target, at: next.to, length: next.length)
      }
      if isOverlap, code == EINVAL { return }
      guard code == 0 else { throw TestFailure("a copy fails with \(code)\n" + text) }
      guard !isOverlap else { throw TestFailure("overlapping ranges were copied\n" + text) }
      if count == 0 { break }
      done += count
      if done == length { break }
    }
    guard done == expected else {
      throw TestFailure("\(done) of \(expected) bytes were copied\n" + text)
    }
    let start = Int(from.lowerBound)
    put(Array(files[source].bytes[start..<(start + Int(done))]), at: Int(to), index)
  }

  private mutating func truncate(_ index: Int) throws {
    let size = random.oneIn(4) ? 0 : random.below(Self.largest)
    note("truncate \(index) to \(size)")
    var changes = AttributeChanges()
    changes.size = size
    _ = try volume.attributes.setAttributes(files[index].id, changes)
    if Int(size) < files[index].bytes.count {
      files[index].bytes.removeLast(files[index].bytes.count - Int(size))
    }
    extend(index, to: Int(size))
  }

  private mutating func allocate(_ index: Int, _ mode: AllocationMode) throws {
    let range = range(within: Self.largest - 1)
    guard !range.isEmpty else { return }
    note("\(mode) \(range) of \(index)")
    try volume.content.allocate(
      files[index].id, mode, offset: range.lowerBound,
      length: range.upperBound - range.lowerBound)
    if mode == .plain || mode == .zeroRange { extend(index, to: Int(range.upperBound)) }
    guard mode == .punchHole || mode == .zeroRange else { return }
    let end = min(Int(range.upperBound), files[index].bytes.count)
    let start = min(Int(range.lowerBound), end)
    files[index].bytes.withUnsafeMutableBytes { $0.part(start, end - start).zero() }
  }

  /// A writable snapshot of /v, whose files are in the game from then on; three at the most.
  private mutating func snapshot() throws {
    if snapshots.count == 3 {
      let path = snapshots.removeFirst()
      note("delete \(path)")
      try volume.deleteSubvolume(path)
      files.removeAll { $0.path.hasPrefix(path + "/") }
    }
    let path = "/s\(made)"
    made += 1
    note("snapshot \(path)")
    let root = try volume.makeSnapshot(of: "/v", path)
    snapshots.append(path)
    for file in files where file.path.hasPrefix("/v/") {
      files.append(
        File(
          id: InodeID(tree: root.tree, number: file.id.number),
          path: path + file.path.dropFirst(2), bytes: file.bytes))
    }
  }

  var text: String { history.joined(separator: "\n") }

  func checkAll() throws {
    for (index, file) in files.enumerated() {
      let found = try volume.readBytes(file.id, at: 0, count: file.bytes.count + 1)
      guard found != file.bytes else { continue }
      let first = zip(found, file.bytes).enumerated().first { $1.0 != $1.1 }?.offset ?? -1
      throw TestFailure(
        "\(file.path) (\(index)): \(found.count) bytes for \(file.bytes.count), first difference at "
          + "\(first)\n\(text)")
    }
  }
}

extension Volume {
  /// Bytes of data in the extent tree.
  var usedData: UInt64 { space.groups.data.counters.withLock { $0.used } }

  /// Clones all of a range, by as many calls as it takes.
  func cloneAll(
    _ source: InodeID, from: UInt64 = 0, to target: InodeID, at to: UInt64 = 0,
    length: UInt64? = nil
  ) throws {
    var done: UInt64 = 0
    let size = try attributes.attributes(of: source).item.size
    // Behind the end it is the volume that refuses.
    let length = length ?? (from <= size ? size - from : nil)
    while true {
      let (bytes, isComplete) = try content.clone(
        source, at: from + done, to: target, at: to + done, length: length.map { $0 - done },
        sourceSize: size)
      done += bytes
      if isComplete { return }
      if bytes == 0 { throw TestFailure("a clone does not go on") }
    }
  }
}
