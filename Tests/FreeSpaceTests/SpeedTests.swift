import Foundation
import FreeSpace
import TestSupport
import Testing

/// What the operations cost; run with `FREESPACE_BENCH=1` in a release build.
@Suite(
  .enabled(if: ProcessInfo.processInfo.environment["FREESPACE_BENCH"] != nil), .serialized,
  .timeLimit(.minutes(10)))
struct SpeedTests {
  /// Nanoseconds per operation.
  private func measure(_ label: String, _ count: Int, _ body: () throws -> Void) rethrows {
    let clock = ContinuousClock()
    let time = try clock.measure(body)
    let (seconds, attoseconds) = time.components
    let nanoseconds = Double(seconds) * 1e9 + Double(attoseconds) / 1e9
    print("\(label): \(Int(nanoseconds / Double(count))) ns")
  }

  /// Free runs of 1 to `longest` sectors, `spacing` apart: `count` of them.
  private func fragmented(_ count: Int, spacing: UInt64, longest: Int) throws -> FreeSpaceIndex {
    let length = (UInt64(count) * spacing * sector + gib - 1) / gib * gib
    let index = FreeSpaceIndex(start: 0, length: length, sectorSize: sector)
    var generator = SeededRandom(testSeed: 1)
    for number in 0..<UInt64(count) {
      let run = UInt64(1 + generator.below(longest))
      try index.add(offset: number * spacing * sector, length: run * sector)
    }
    return index
  }

  @Test(arguments: [(100_000, 64, 40), (100_000, 16, 8), (1_000, 256, 100)])
  func operations(count: Int, spacing: Int, longest: Int) throws {
    let index = try fragmented(count, spacing: UInt64(spacing), longest: longest)
    let label =
      "\(index.extentCount) extents, \(index.bitmapCount) bitmaps, \(index.length / gib) GiB, "
      + "\(index.memoryBytes) bytes"
    var ranges = index.ranges
    var generator = SeededRandom(testSeed: 2)
    ranges.shuffle(using: &generator)
    let steps = ranges.count
    try measure("\(label): remove whole runs in random order", steps) {
      for range in ranges { try index.remove(offset: range.offset, length: range.length) }
    }
    try measure("\(label): add in random order", steps) {
      for range in ranges { try index.add(offset: range.offset, length: range.length) }
    }
    try measure("\(label): remove and add a sector", 2 * steps) {
      for range in ranges {
        try index.remove(offset: range.offset, length: sector)
        try index.add(offset: range.offset, length: sector)
      }
    }
    let hints = ranges.map(\.offset)
    for sectors in [1, 4, UInt64(longest)] {
      for alignment in [sector, 4 * sector] {
        var taken: [UInt64] = []
        taken.reserveCapacity(steps)
        let attempts = min(steps, steps / 8 + 100)
        measure("\(label): allocate \(sectors) aligned \(alignment) at random hints", attempts) {
          for hint in hints.prefix(attempts) {
            let place = index.allocate(length: sectors * sector, alignment: alignment, hint: hint)
            if let place { taken.append(place) }
          }
        }
        try measure("\(label): free them", max(1, taken.count)) {
          for place in taken { try index.add(offset: place, length: sectors * sector) }
        }
      }
      var taken: [UInt64] = []
      taken.reserveCapacity(steps)
      measure("\(label): allocate \(sectors) without hint", steps / 8) {
        for _ in 0..<steps / 8 {
          let place = index.allocate(length: sectors * sector, alignment: sector, hint: nil)
          if let place { taken.append(place) }
        }
      }
      for place in taken { try index.add(offset: place, length: sectors * sector) }
    }
    try index.checkInvariants()
  }

  @Test func sequential() throws {
    let index = try FreeSpaceIndex.wholly(free: 10 * gib)
    var hint: UInt64 = 0
    let steps = 600_000
    measure("whole 10 GiB: allocate 4 sectors, hint follows", steps) {
      for _ in 0..<steps {
        hint = index.allocate(length: 4 * sector, alignment: 4 * sector, hint: hint) ?? 0
      }
    }
  }

  @Test func cacheFiles() throws {
    for (count, spacing) in [(8_000, 32 as UInt64), (120_000, 2)] {
      let index = try fragmented(count, spacing: spacing, longest: 1)
      var file = try CacheFile(of: index)
      let label = "\(index.length / gib) GiB, \(count) runs, \(file.summary.bitmapCount) bitmaps"
      try measure("encode \(label)", 20) { for _ in 0..<20 { file = try CacheFile(of: index) } }
      try measure("decode \(label)", 20) { for _ in 0..<20 { _ = try file.decode() } }
    }
  }
}
