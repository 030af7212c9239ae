import Glibc
import TestSupport
import Testing

@testable import FSCore

/// A file beside a plain array of the bytes that it must hold. Every operation is made on both.
struct FilesModel {
  /// All but the volume.
  struct State {
    let id: InodeID
    var bytes: [UInt8] = []
    var random: SeededRandom
    let largest: UInt64
    /// The last operations, for a failure's message.
    var history: [String] = []
  }

  let volume: Volume
  var state: State

  init(_ volume: Volume, _ state: State) {
    self.volume = volume
    self.state = state
  }

  init(_ volume: Volume, _ id: InodeID, seed: UInt64, largest: UInt64) {
    self.volume = volume
    state = State(id: id, random: SeededRandom(testSeed: seed), largest: largest)
  }

  private var id: InodeID { state.id }
  private var largest: UInt64 { state.largest }

  private var bytes: [UInt8] {
    get { state.bytes }
    _modify { yield &state.bytes }
  }

  private var random: SeededRandom {
    get { state.random }
    set { state.random = newValue }
  }

  private var history: [String] { state.history }

  mutating func step() throws {
    switch random.below(20) {
    case 0...6: try write()
    case 7...9: try read()
    case 10, 11: try truncate()
    case 12: try allocate(.plain)
    case 13: try allocate(.keepSize)
    case 14, 15: try allocate(.punchHole)
    case 16: try allocate(random.below(2) == 0 ? .zeroRange : .zeroRangeKeepSize)
    case 17: try seek()
    case 18:
      note("flush")
      volume.files.flush(try volume.content.file(id))
    default:
      if random.below(6) == 0 {
        note("synchronize")
        try volume.content.synchronize(id, dataOnly: false)
      }
    }
  }

  private mutating func note(_ text: String) {
    state.history.append(text)
    if state.history.count > 40 { state.history.removeFirst() }
  }

  /// Mostly not aligned, often at an edge of a sector, small files now and then.
  private mutating func range(longest: UInt64 = 200_000) -> Range<UInt64> {
    let bound = random.below(4) == 0 ? 5000 : largest
    var start = random.below(bound)
    switch random.below(6) {
    case 0: start = start.roundedDown(to: 4096)
    case 1: start = UInt64(bytes.count)
    default: break
    }
    let span = random.below(3) == 0 ? longest : 9000
    var length = 1 + random.below(span)
    if random.below(4) == 0 { length = length.roundedUp(to: 4096) }
    start = min(start, largest - 1)
    return start..<min(start + length, largest)
  }

  private mutating func extend(to end: UInt64) {
    if bytes.count < Int(end) { bytes += [UInt8](repeating: 0, count: Int(end) - bytes.count) }
  }

  private mutating func write() throws {
    let range = range()
    note("write \(range)")
    let data = Self.data(range.count, random.next())
    try volume.writeBytes(id, at: range.lowerBound, data)
    extend(to: range.upperBound)
    bytes.replaceSubrange(Int(range.lowerBound)..<Int(range.upperBound), with: data)
  }

  /// Bytes other than 0 that compression makes smaller: the same 1792, or 7 times 256, over and over.
  private static func data(_ count: Int, _ seed: UInt64) -> [UInt8] {
    let pattern = (0..<UInt64(min(count, 7 * 256))).map {
      UInt8(truncatingIfNeeded: (seed >> ($0 % 7 * 8)) &+ $0) | 1
    }
    var data = pattern
    while data.count < count { data += pattern.prefix(count - data.count) }
    return data
  }

  private mutating func read() throws {
    let range = range()
    note("read \(range)")
    try check(range)
  }

  func check(_ range: Range<UInt64>) throws {
    let found = try volume.readBytes(
      id, at: range.lowerBound, count: Int(range.upperBound - range.lowerBound))
    let end = min(Int(range.upperBound), bytes.count)
    let start = min(Int(range.lowerBound), end)
    let expected = Array(bytes[start..<end])
    if found != expected {
      let first = zip(found, expected).enumerated().first { $1.0 != $1.1 }?.offset ?? -1
      throw TestFailure(
        "read \(range): \(found.count) bytes for \(expected.count), first difference at \(first)\n"
          + history.joined(separator: "\n"))
    }
  }

  func checkAll() throws {
    let size = try volume.attributes.attributes(of: id).item.size
    guard size == UInt64(bytes.count) else {
      throw TestFailure(
        "size \(size) for \(bytes.count)\n" + history.joined(separator: "\n"))
    }
    try check(0..<(UInt64(bytes.count) + 1))
  }

  private mutating func truncate() throws {
    let size = random.below(8) == 0 ? 0 : range().lowerBound
    note("truncate \(bytes.count) to \(size)")
    var changes = AttributeChanges()
    changes.size = size
    _ = try volume.attributes.setAttributes(id, changes)
    if Int(size) < bytes.count { bytes.removeLast(bytes.count - Int(size)) }
    extend(to: size)
  }

  private mutating func allocate(_ mode: AllocationMode) throws {
    let range = range(longest: 600_000)
    note("\(mode) \(range)")
    try volume.content.allocate(
      id, mode, offset: range.lowerBound, length: range.upperBound - range.lowerBound)
    if mode == .plain || mode == .zeroRange { extend(to: range.upperBound) }
    guard mode != .plain, mode != .keepSize else { return }
    let end = min(Int(range.upperBound), bytes.count)
    let start = min(Int(range.lowerBound), end)
    bytes.withUnsafeMutableBytes { $0.part(start, end - start).zero() }
  }

  private func isZero(_ start: Int, _ end: Int) -> Bool {
    bytes.withUnsafeBytes { $0.part(start, end - start).isZero }
  }

  private mutating func seek() throws {
    let from = random.below(largest)
    note("seek \(from)")
    do throws(FilesystemError) {
      let data = try volume.content.seek(id, from: from, .data)
      guard data >= from, data < bytes.count else { throw .corrupt("data at \(data)") }
      guard isZero(Int(from), Int(data)) else {
        throw .corrupt("data before \(data)")
      }
    } catch {
      guard case .noSuchOffset = error else { throw error }
      guard isZero(min(Int(from), bytes.count), bytes.count) else {
        throw TestFailure("no data found from \(from)\n" + history.joined(separator: "\n"))
      }
    }
    guard from < bytes.count else { return }
    let hole = try volume.content.seek(id, from: from, .hole)
    let isInside = hole >= from && hole <= bytes.count
    guard isInside, hole == bytes.count || bytes[Int(hole)] == 0 else {
      throw TestFailure("hole at \(hole) from \(from)\n" + history.joined(separator: "\n"))
    }
  }
}
