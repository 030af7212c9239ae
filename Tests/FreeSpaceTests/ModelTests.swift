import Foundation
import FreeSpace
import TestSupport
import Testing

/// The index against a model in random steps, dumped and loaded each thousand.
///
/// `FREESPACE_STEPS` sets the number of steps of each seed; else there are as many as go through all
/// phases twice.
@Suite(.timeLimit(.minutes(10))) struct ModelTests {
  static let stepCount =
    ProcessInfo.processInfo.environment["FREESPACE_STEPS"].flatMap { Int($0) }
    ?? (TestSeed.isThorough ? 100_000 : 42_000)

  /// Seeds choose the group, so that each shape is met: windows cut short, a start that is
  /// no multiple of the node size, one window and several.
  private static func sectorCount(of seed: UInt64) -> Int {
    [25_600, 65_541, 28_672, 32_768, 32_769, 98_000][Int(seed % 6)]
  }

  @Test(arguments: 1...6 as ClosedRange<UInt64>) func randomSteps(seed: UInt64) throws {
    print("free space model: seed \(seed), \(Self.stepCount) steps")
    var generator = SeededRandom(testSeed: seed)
    let count = Self.sectorCount(of: seed)
    let start = gib + UInt64(seed % 3) * 4096
    var run = Run(
      index: FreeSpaceIndex(start: start, length: UInt64(count) * sector, sectorSize: sector),
      model: NaiveSpace(start: start, sectorCount: count))
    var bitmapDumps = 0
    for step in 1...Self.stepCount {
      // Phases: large pieces, small pieces, single sectors.
      let phase = (step / 7_000) % 3
      try run.step(&generator, longest: [3_000, 40, 2][phase], phase: phase)
      if step % 1_000 == 0 {
        bitmapDumps += try run.compare(&generator)
        if step % 5_000 == 0 { run.index.recalculateThresholds() }
      }
    }
    _ = try run.compare(&generator)
    #expect(bitmapDumps > 0 || Self.stepCount < 40_000)
  }
}

private struct Run {
  var index: FreeSpaceIndex
  var model: NaiveSpace

  private func address(_ sector: Int) -> UInt64 { index.start + UInt64(sector) * 4096 }

  mutating func step(
    _ generator: inout SeededRandom, longest: Int, phase: Int
  ) throws {
    switch generator.below(10) {
    case 0...5: try flip(&generator, longest)
    case 6, 7: try allocate(&generator, longest)
    case 8: try allocateSome(&generator, longest)
    default: try refuse(&generator, longest)
    }
  }

  /// Frees what is used, or takes what is free.
  private mutating func flip(_ generator: inout SeededRandom, _ longest: Int) throws {
    let first = generator.below(model.isFree.count)
    let range = model.stretch(from: first, limit: 1 + generator.below(longest))
    let length = UInt64(range.count) * 4096
    if model.isFree[first] {
      try index.remove(offset: address(first), length: length)
      model.set(range, free: false)
    } else {
      try index.add(offset: address(first), length: length)
      model.set(range, free: true)
    }
  }

  private mutating func take(_ offset: UInt64, _ length: UInt64) throws {
    let first = Int((offset - index.start) / 4096)
    let range = first..<first + Int(length / 4096)
    try #require(range.upperBound <= model.isFree.count && model.allFree(range))
    model.set(range, free: false)
  }

  private mutating func allocate(_ generator: inout SeededRandom, _ longest: Int) throws {
    let count = 1 + generator.below(longest)
    let alignment = [sector, sector, 4 * sector, 16 * sector][generator.below(4)]
    let hint = generator.below(3) == 0 ? nil : address(generator.below(model.isFree.count))
    let offset = index.allocate(length: UInt64(count) * 4096, alignment: alignment, hint: hint)
    if let offset {
      try #require(offset % alignment == 0)
      try take(offset, UInt64(count) * 4096)
    } else if generator.below(20) == 0 {
      try #require(!model.fits(count: count, alignment: alignment))
    }
  }

  private mutating func allocateSome(_ generator: inout SeededRandom, _ longest: Int) throws {
    let count = 1 + generator.below(longest * 2)
    let least = 1 + generator.below(count)
    let alignment = [sector, sector, 4 * sector][generator.below(3)]
    let found = index.allocateUpTo(
      length: UInt64(count) * 4096, minimum: UInt64(least) * 4096, alignment: alignment,
      hint: address(generator.below(model.isFree.count)))
    if let found {
      try #require(found.offset % alignment == 0)
      try #require(found.length >= UInt64(least) * 4096 && found.length <= UInt64(count) * 4096)
      try take(found.offset, found.length)
    } else if generator.below(20) == 0, alignment == sector {
      try #require(!model.fits(count: least, alignment: alignment))
    }
  }

  /// Ranges that are neither free nor used throughout are refused both ways.
  private func refuse(_ generator: inout SeededRandom, _ longest: Int) throws {
    let first = generator.below(model.isFree.count)
    let range = first..<min(model.isFree.count, first + 1 + generator.below(longest))
    let length = UInt64(range.count) * 4096
    let allFree = model.allFree(range)
    try #require(index.isFree(offset: address(first), length: length) == allFree)
    if !allFree {
      #expect(throws: FreeSpaceError.notFree(offset: address(first), length: length)) {
        try index.remove(offset: address(first), length: length)
      }
    }
    if model.isFree[first] {
      #expect(throws: FreeSpaceError.alreadyFree(offset: address(first), length: length)) {
        try index.add(offset: address(first), length: length)
      }
    }
  }

  /// Everything the index says, before and after a dump in which some ranges are pinned.
  /// Returns the number of bitmaps in the dumps.
  func compare(_ generator: inout SeededRandom) throws -> Int {
    try index.checkInvariants()
    let expected = model.ranges
    try #require(index.ranges == expected)
    #expect(index.freeBytes == UInt64(model.freeCount) * 4096)
    #expect(index.rangeCount == expected.count)
    #expect(index.largestRun == expected.map(\.length).max() ?? 0)
    #expect(index.memoryBytes <= Int(max(32 * kib, index.length / gib * 32 * kib)))
    let least = UInt64(1 + generator.below(64)) * 4096
    var long: [ByteRange] = []
    index.forEachRange(atLeast: least) { long.append(ByteRange(offset: $0, length: $1)) }
    #expect(long == expected.filter { $0.length >= least })

    let held = index.copy()
    var pinned: [(offset: UInt64, length: UInt64)] = []
    for _ in 0..<generator.below(50) {
      let found = held.allocateUpTo(
        length: UInt64(1 + generator.below(100)) * 4096, minimum: 4096, alignment: 4096,
        hint: address(generator.below(model.isFree.count)))
      if let found { pinned.append(found) }
    }
    let file = try CacheFile(of: held, additional: pinned)
    #expect(file.summary.freeBytes == index.freeBytes)
    let loaded = try file.decode()
    try loaded.checkInvariants()
    try #require(loaded.ranges == expected)

    // With few pages, windows must turn into bitmaps that the index has as lists.
    let few = 1 + generator.below(12)
    guard let tight = try? CacheFile(of: held, additional: pinned, pageCount: few) else {
      return Int(file.summary.bitmapCount)
    }
    try #require(tight.decode().ranges == expected)
    return Int(file.summary.bitmapCount + tight.summary.bitmapCount)
  }
}
