/// The buffered sectors of one aligned piece of a file.
///
/// Its memory reaches from the first of them to the last only, so that a cell of one sector is
/// small: random writes into a large file make many of those.
final class BufferCell {
  /// The length of the piece; a power of two.
  static let size: UInt64 = 128 << 10

  /// The piece begins at `index` × `size` of the file.
  let index: UInt64
  let sectorSize: Int

  /// A bit for each sector of the piece: whether its bytes are here.
  private(set) var sectors: UInt32 = 0

  /// Those sectors for which data space is reserved. Not so are sectors whose preallocated
  /// extent is going to be written in place.
  private(set) var reserved: UInt32 = 0

  /// The sector that `memory` begins with.
  private var first: Int
  private var memory: AlignedBuffer
  private let budget: DirtyBudget

  init(index: UInt64, room: Range<Int>, sectorSize: Int, budget: DirtyBudget) {
    self.index = index
    self.sectorSize = sectorSize
    self.budget = budget
    first = room.lowerBound
    memory = budget.take(room.count * sectorSize)
  }

  deinit { budget.giveBack(memory) }

  var start: UInt64 { index * Self.size }
  var isEmpty: Bool { sectors == 0 }
  var byteCount: Int { sectors.nonzeroBitCount * sectorSize }
  var reservedBytes: UInt64 { UInt64(reserved.nonzeroBitCount * sectorSize) }

  static func mask(_ range: Range<Int>) -> UInt32 {
    UInt32(truncatingIfNeeded: (UInt64(1) << range.upperBound) - (UInt64(1) << range.lowerBound))
  }

  func contains(_ sector: Int) -> Bool { sectors >> sector & 1 == 1 }

  /// Adds sectors, whose bytes are not initialised where they are new. `isReserved` is about
  /// the new ones.
  func add(_ range: Range<Int>, isReserved: Bool) {
    makeRoom(range)
    let added = Self.mask(range) & ~sectors
    sectors |= added
    if isReserved { reserved |= added }
  }

  /// Takes sectors out. Returns for how many bytes space was reserved.
  func remove(_ range: Range<Int>) -> UInt64 {
    let mask = Self.mask(range)
    let freed = reserved & mask
    sectors &= ~mask
    reserved &= ~mask
    return UInt64(freed.nonzeroBitCount * sectorSize)
  }

  /// The memory of `range`, all of which is in the cell.
  func bytes(_ range: Range<Int>) -> UnsafeMutableRawBufferPointer {
    memory.bytes.part((range.lowerBound - first) * sectorSize, range.count * sectorSize)
  }

  /// Calls `body` with each run of consecutive sectors.
  func forEachRun(_ body: (Range<Int>) -> Void) {
    var rest = UInt64(sectors)
    while rest != 0 {
      let lower = rest.trailingZeroBitCount
      let upper = lower + (~(rest >> lower)).trailingZeroBitCount
      body(lower..<upper)
      rest &= ~((UInt64(1) << upper) - 1)
    }
  }

  private func makeRoom(_ range: Range<Int>) {
    let end = first + memory.count / sectorSize
    if range.lowerBound >= first && range.upperBound <= end { return }

    let lower = min(first, range.lowerBound)
    var upper = max(end, range.upperBound)
    if range.upperBound > end {
      // Twice as much when it grows at the end, as a file does that is appended to.
      upper = min(Int(Self.size) / sectorSize, max(upper, end + (end - first)))
    }

    let larger = budget.take((upper - lower) * sectorSize)
    forEachRun { run in
      let target = larger.bytes.part((run.lowerBound - lower) * sectorSize, run.count * sectorSize)
      target.copyMemory(from: UnsafeRawBufferPointer(bytes(run)))
    }
    budget.giveBack(memory)
    memory = larger
    first = lower
  }
}
