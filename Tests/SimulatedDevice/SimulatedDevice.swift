import FSCore
import Glibc
import TestSupport

/// The one device of the tests on which something can go wrong: an image in memory that records
/// writes, fails, waits, and from whose record the images are made that a power cut would leave.
///
/// 1. A request is counted, then delayed or held, then fails by the first fault that meets it, and
///    only then reaches the memory: a request that failed has changed nothing.
/// 2. The record has every write and flush that succeeded since the device was made: a write from
///    its end, a flush from its beginning. So what stands before a flush had ended when it began.
/// 3. Any thread may call anything; a fault's count is exact among all threads.
package final class SimulatedDevice: BlockDevice {
  package enum Operation: Sendable { case read, write, flush }

  /// What fails, and how often.
  package struct Fault: Sendable {
    package var operations: Set<Operation>
    /// Requests that touch one of these ranges of the device; nil: all.
    package var ranges: [Range<UInt64>]?
    /// Only requests of at least this many bytes.
    package var smallest = 0
    /// How many such requests succeed before the first that fails.
    package var after = 0
    /// How many fail then: 1 for a transient fault, `.max` for a lasting one.
    package var times = Int.max
    package var code = EIO
    /// Discards are writes otherwise.
    package var sparesDiscards = false

    package init(
      _ operations: Set<Operation>, in ranges: [Range<UInt64>]? = nil, smallest: Int = 0,
      after: Int = 0, times: Int = .max
    ) {
      self.operations = operations
      self.ranges = ranges
      self.smallest = smallest
      self.after = after
      self.times = times
    }

    /// Whether a request fails by this fault, which counts it.
    fileprivate mutating func meets(
      _ operation: Operation, _ offset: UInt64, _ count: Int
    ) -> Bool {
      guard operations.contains(operation), count >= smallest else { return false }
      if let ranges, operation != .flush {
        let range = offset..<(offset + UInt64(count))
        guard ranges.contains(where: { $0.overlaps(range) }) else { return false }
      }
      if after > 0 {
        after -= 1
        return false
      }
      guard times > 0 else { return false }
      if times != .max { times -= 1 }
      return true
    }
  }

  package enum Event {
    case write(offset: UInt64, bytes: [UInt8])
    case flush

    package var isFlush: Bool { if case .flush = self { true } else { false } }
  }

  private struct State {
    var faults: [Fault] = []
    var failures = 0
    var counts: [Operation: Int] = [:]
    var delays: [Operation: useconds_t] = [:]
    /// Which requests wait: all of the kind, or those of one length.
    var held: [Operation: Int?] = [:]
    var heldRequests = 0
    var events: [Event] = []
    var discards = 0
    var expectations: [UInt64] = []
    var reads: [UInt64] = []
    var failsDiscards = false
    /// The image after the first events of the record, for the images of later cuts.
    var begun: (events: Int, image: MemoryDevice)?

    func holds(_ operation: Operation, _ count: Int) -> Bool {
      guard let length = held[operation] else { return false }
      return length == nil || length == count
    }
  }

  package let memory: MemoryDevice
  /// What the device held before the first event; nil when it does not record.
  private let base: MemoryDevice?
  private let state = Guarded(State(), rank: .leaf)

  /// - Parameter memory: what the device holds; it stays the device's own memory.
  package init(_ memory: MemoryDevice, recording: Bool = false) throws {
    self.memory = memory
    base = recording ? memory.copy() : nil
  }

  package var sizeBytes: UInt64 { memory.sizeBytes }

  // What goes wrong.

  package func fail(_ fault: Fault) { state.update { $0.faults.append(fault) } }

  /// All faults are over.
  package func heal() { state.update { $0.faults = [] } }

  /// How many requests have failed so far.
  package var failures: Int { state.withLock { $0.failures } }

  package func delay(_ operation: Operation, microseconds: useconds_t) {
    state.update { $0.delays[operation] = microseconds }
  }

  /// Requests of this kind, or those of them that have this length, wait until they are let go.
  package func hold(_ operation: Operation, of length: Int? = nil) {
    state.update { _ = $0.held.updateValue(length, forKey: operation) }
  }

  package func letGo(_ operation: Operation) {
    state.update { _ = $0.held.removeValue(forKey: operation) }
  }

  /// How many requests have had to wait so far.
  package var heldRequests: Int { state.withLock { $0.heldRequests } }

  /// How many requests have come, those that failed or still wait among them.
  package func count(_ operation: Operation) -> Int { state.withLock { $0.counts[operation] ?? 0 } }

  /// Waits until there have been more than `count` requests; says whether they came in time.
  package func wait(
    _ operation: Operation, beyond count: Int, atMost seconds: Double = 20
  ) -> Bool {
    state.wait(atMost: seconds) { ($0.counts[operation] ?? 0) > count }
  }

  /// Where reads were said to come, and where they came after the first of these.
  package var expectations: [UInt64] { state.withLock { $0.expectations } }
  package var readsAfterExpectations: [UInt64] { state.withLock { $0.reads } }

  package func expectRead(_ length: Int, at address: PhysicalAddress) {
    state.withLock { $0.expectations.append(address.rawValue) }
  }

  /// How many discards have come.
  package var discards: Int { state.withLock { $0.discards } }

  /// Whether the device can discard nothing.
  package var failDiscards: Bool {
    get { state.withLock { $0.failsDiscards } }
    set { state.withLock { $0.failsDiscards = newValue } }
  }

  // BlockDevice.

  package func read(
    into buffer: UnsafeMutableRawBufferPointer, at address: PhysicalAddress
  ) throws(FilesystemError) {
    try admit(.read, "read", address.rawValue, buffer.count)
    state.withLock { if !$0.expectations.isEmpty { $0.reads.append(address.rawValue) } }
    try memory.read(into: buffer, at: address)
  }

  package func write(
    _ bytes: UnsafeRawBufferPointer, at address: PhysicalAddress
  ) throws(FilesystemError) {
    try admit(.write, "write", address.rawValue, bytes.count)
    try memory.write(bytes, at: address)
    guard base != nil else { return }
    let event = Event.write(offset: address.rawValue, bytes: Array(bytes))
    state.withLock { $0.events.append(event) }
  }

  /// Recorded as what it does here: the range reads as zeros.
  package func discard(_ length: UInt64, at address: PhysicalAddress) throws(FilesystemError) {
    let isRefused = state.withLock { state in
      state.discards += 1
      return state.failsDiscards
    }
    if isRefused { throw .unsupported("discards") }
    try admit(.write, "discard", address.rawValue, Int(length))
    try memory.discard(length, at: address)
    guard base != nil else { return }
    let event = Event.write(
      offset: address.rawValue, bytes: [UInt8](repeating: 0, count: Int(length)))
    state.withLock { $0.events.append(event) }
  }

  /// Not recorded: images keep the size that the memory had at first.
  package func resize(to bytes: UInt64) throws(FilesystemError) {
    try admit(.write, "resize", bytes, 0)
    try memory.resize(to: bytes)
  }

  package func flush() throws(FilesystemError) {
    try admit(.flush, "flush", 0, 0)
  }

  private func admit(
    _ operation: Operation, _ name: StaticString, _ offset: UInt64, _ count: Int
  ) throws(FilesystemError) {
    let delay = state.update { state in
      state.counts[operation, default: 0] += 1
      if state.holds(operation, count) { state.heldRequests += 1 }
      return state.delays[operation] ?? 0
    }
    if delay > 0 { usleep(delay) }
    // A test that has failed lets nothing go.
    guard state.wait(atMost: 60, until: { !$0.holds(operation, count) }) else {
      throw .device(operation: name, offset: offset, code: ETIMEDOUT)
    }
    let isDiscard = name.description == "discard"
    let code = state.withLock { state -> Int32? in
      for index in state.faults.indices
      where !(isDiscard && state.faults[index].sparesDiscards)
        && state.faults[index].meets(operation, offset, count)
      {
        state.failures += 1
        return state.faults[index].code
      }
      if operation == .flush, base != nil { state.events.append(.flush) }
      return nil
    }
    if let code {
      if operation == .write { throw .writing(at: offset, code: code) }
      throw .device(operation: name, offset: offset, code: code)
    }
  }

  // The record.

  package var recorded: [Event] { state.withLock { $0.events } }

  /// The image after the first `count` events of the record: whole up to the last flush among
  /// them; of the writes after it any part, in any order.
  ///
  /// - Parameter density: of each hundred sectors, how many reach the device; of them some in
  ///   part, by units of 512 bytes. A superblock is written whole or not at all, as every btrfs
  ///   relies on it. 0 and 100 are exactly nothing and exactly all.
  package func image(
    after count: Int, of recorded: [Event], density: Int, random: inout SeededRandom
  ) throws -> MemoryDevice {
    let lastFlush = recorded[..<count].lastIndex { $0.isFlush } ?? 0
    let image = try image(ofFirst: lastFlush, of: recorded)

    var loose = Array(recorded[lastFlush..<count])
    if density > 0, density < 100 { loose.shuffle(using: &random) }
    for event in loose {
      guard case .write(let offset, let bytes) = event else { continue }
      for start in stride(from: 0, to: bytes.count, by: 4096) {
        guard random.below(100) < density else { continue }
        var kept = start..<min(start + 4096, bytes.count)
        let place = offset + UInt64(start)
        if density < 100, random.oneIn(4), !Format.superblockOffsets.contains(place) {
          kept = kept.lowerBound..<min(kept.lowerBound + 512 * random.below(8), kept.upperBound)
        }
        try bytes[kept].withUnsafeBytes { try image.write($0, at: PhysicalAddress(place)) }
      }
    }
    return image
  }

  /// What the device held after the first `count` events of the record, all of them. Cuts are mostly
  /// asked for in their order, so each image goes on from the one before it.
  private func image(ofFirst count: Int, of recorded: [Event]) throws -> MemoryDevice {
    guard let base else { throw TestFailure("the device does not record") }
    var (done, image) = (0, base)
    if let begun = state.withLock({ $0.begun }), begun.events <= count {
      (done, image) = begun
    }
    image = image.copy()
    for event in recorded[done..<count] {
      guard case .write(let offset, let bytes) = event else { continue }
      try bytes.withUnsafeBytes { try image.write($0, at: PhysicalAddress(offset)) }
    }
    state.withLock { $0.begun = (count, image) }
    return image.copy()
  }
}
