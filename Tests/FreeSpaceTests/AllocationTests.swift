import FreeSpace
import Testing

@Suite(.timeLimit(.minutes(10))) struct AllocationTests {
  @Test func wholeGroupIsOneExtent() throws {
    let index = try FreeSpaceIndex.wholly(free: gib, start: 5 * gib)
    #expect(index.extentCount == 1)
    #expect(index.rangeCount == 1)
    #expect(index.bitmapCount == 0)
    #expect(index.largestRun == gib)
    #expect(index.ranges == [ByteRange(offset: 5 * gib, length: gib)])
    #expect(index.allocate(length: gib, alignment: sector, hint: nil) == 5 * gib)
    #expect(index.freeBytes == 0 && index.extentCount == 0 && index.memoryBytes <= 256)
  }

  @Test func startsAtTheHintAndWraps() throws {
    let index = try FreeSpaceIndex.wholly(free: gib)
    #expect(index.allocate(length: mib, alignment: sector, hint: 600 * mib) == 600 * mib)
    #expect(index.allocate(length: mib, alignment: sector, hint: 600 * mib) == 601 * mib)
    #expect(index.allocate(length: 500 * mib, alignment: sector, hint: 700 * mib) == 0)
    #expect(index.allocate(length: mib, alignment: sector, hint: 2 * gib) != nil)
  }

  @Test func hintOutsideTheGroup() throws {
    let index = try FreeSpaceIndex.wholly(free: gib, start: 4 * gib)
    #expect(index.allocate(length: mib, alignment: sector, hint: 0) == 4 * gib)
    #expect(index.allocate(length: mib, alignment: sector, hint: .max) == 4 * gib + mib)
  }

  @Test func prefersACloseSizeWithoutAHint() throws {
    let index = FreeSpaceIndex(start: 0, length: gib, sectorSize: sector)
    try index.add(offset: 0, length: 100 * mib)
    try index.add(offset: 700 * mib, length: 64 * kib)
    #expect(index.allocate(length: 64 * kib, alignment: sector, hint: nil) == 700 * mib)
  }

  @Test func alignmentIsOfTheAddress() throws {
    let start = 3 * gib + sector
    let index = try FreeSpaceIndex.wholly(free: 100 * mib, start: start)
    #expect(index.allocate(length: 16 * kib, alignment: 16 * kib, hint: nil) == 3 * gib + 16 * kib)
    #expect(index.isFree(offset: start, length: 12 * kib))
  }

  @Test func alignedPlaceBehindManyThatLieBadly() throws {
    let index = FreeSpaceIndex(start: 0, length: gib, sectorSize: sector)
    for number in 0..<2_000 as Range<UInt64> {
      try index.add(offset: number * 64 * kib + sector, length: 16 * kib)
    }
    #expect(index.allocate(length: 16 * kib, alignment: 16 * kib, hint: nil) == nil)
    #expect(index.allocate(length: 16 * kib, alignment: 32 * kib, hint: nil) == nil)
    try index.add(offset: 900 * mib, length: 64 * kib)
    #expect(index.allocate(length: 16 * kib, alignment: 16 * kib, hint: nil) == 900 * mib)
  }

  /// A run made of the tail of a list, a whole window and the head of a bitmap.
  @Test func findsARunAcrossFormsAndWindows() throws {
    let window = 128 * mib
    let index = FreeSpaceIndex(start: gib, length: gib, sectorSize: sector)
    for number in 0..<2_000 as Range<UInt64> {
      try index.add(offset: gib + 2 * window + mib + number * 2 * sector, length: sector)
    }
    #expect(index.bitmapCount == 1)
    try index.add(offset: gib + window - 64 * kib, length: window + 64 * kib + 32 * kib)
    #expect(index.bitmapCount == 1)
    #expect(index.rangeCount == 2_001)
    #expect(index.largestRun == window + 96 * kib)
    #expect(
      index.allocate(length: window + 96 * kib, alignment: sector, hint: gib + 900 * mib)
        == gib + window - 64 * kib)
    try index.checkInvariants()
  }

  @Test func takesLessWhenTheWholeDoesNotFit() throws {
    let index = FreeSpaceIndex(start: 0, length: gib, sectorSize: sector)
    try index.add(offset: 10 * mib, length: 70 * kib / sector * sector)
    try index.add(offset: 500 * mib + sector, length: 300 * kib)
    let found = index.allocateUpTo(length: mib, minimum: 64 * kib, alignment: 16 * kib, hint: 0)
    #expect(found?.offset == 500 * mib + 16 * kib)
    #expect(found?.length == 288 * kib)
    #expect(index.allocateUpTo(length: mib, minimum: 128 * kib, alignment: sector, hint: 0) == nil)
    let rest = index.allocateUpTo(length: mib, minimum: 16 * kib, alignment: sector, hint: 0)
    #expect(rest?.offset == 10 * mib && rest?.length == 68 * kib)
  }

  @Test func refusesWhatCannotBe() throws {
    let index = try FreeSpaceIndex.wholly(free: 100 * mib, start: gib)
    #expect(index.allocate(length: gib, alignment: sector, hint: nil) == nil)
    #expect(index.allocate(length: 1 << 60, alignment: 1 << 62, hint: nil) == nil)
    #expect(index.allocate(length: sector, alignment: 1 << 63, hint: 0) == nil)
    #expect(throws: FreeSpaceError.misaligned(offset: gib, length: 0)) {
      try index.remove(offset: gib, length: 0)
    }
    #expect(throws: FreeSpaceError.misaligned(offset: gib + 1, length: sector)) {
      try index.remove(offset: gib + 1, length: sector)
    }
    let last: UInt64 = .max - sector + 1
    for (offset, length) in [(0, sector), (gib, last), (last, sector), (gib + 100 * mib, sector)] {
      #expect(throws: FreeSpaceError.outsideGroup(offset: offset, length: length)) {
        try index.remove(offset: offset, length: length)
      }
      #expect(!index.isFree(offset: offset, length: length))
    }
    #expect(throws: FreeSpaceError.alreadyFree(offset: gib, length: sector)) {
      try index.add(offset: gib, length: sector)
    }
    #expect(index.freeBytes == 100 * mib)
    #expect(!FreeSpaceIndex.canDescribe(start: 0, length: 1 << 63, sectorSize: sector))
    #expect(!FreeSpaceIndex.canDescribe(start: last, length: mib, sectorSize: sector))
    #expect(!FreeSpaceIndex.canDescribe(start: 0, length: mib, sectorSize: 0))
  }

  @Test func walksInSteps() throws {
    let index = FreeSpaceIndex(start: gib, length: gib, sectorSize: sector)
    try index.add(offset: gib + mib, length: mib)
    try index.add(offset: gib + 5 * mib, length: 8 * kib)
    let first = index.nextRange(from: 0, atLeast: sector)
    #expect(first?.offset == gib + mib && first?.length == mib)
    let cut = index.nextRange(from: gib + mib + 5, atLeast: sector)
    #expect(cut?.offset == gib + mib + sector && cut?.length == mib - sector)
    #expect(index.nextRange(from: gib + 3 * mib, atLeast: mib) == nil)
    #expect(index.nextRange(from: .max, atLeast: sector) == nil)
    #expect(index.nextRange(from: 0, atLeast: .max) == nil)
  }
}

@Suite(.timeLimit(.minutes(10))) struct ThresholdTests {
  /// Every other sector of a group, added in an order that is not that of the addresses.
  private func shattered(_ length: UInt64) throws -> FreeSpaceIndex {
    let index = FreeSpaceIndex(start: 0, length: length, sectorSize: sector)
    let pairs = length / sector / 2
    for number in 0..<pairs {
      try index.add(offset: (number * 7_919 % pairs) * 2 * sector, length: sector)
      if number % 4_096 == 0 { #expect(index.memoryBytes <= index.memoryLimit) }
    }
    return index
  }

  @Test(arguments: [100 * mib, 112 * mib, 256 * mib])
  func memoryIsBounded(length: UInt64) throws {
    let index = try shattered(length)
    try index.checkInvariants()
    #expect(index.memoryLimit <= Int(32 * kib))
    #expect(index.memoryBytes <= index.memoryLimit)
    #expect(index.rangeCount == Int(length / sector / 2))
    #expect(index.bitmapCount == Int((length + 128 * mib - 1) / (128 * mib)))
    #expect(index.extentCount == 0)
  }

  @Test func limitIs32KiBPerGiB() {
    for gibibytes in 1...10 as ClosedRange<UInt64> {
      let index = FreeSpaceIndex(start: 0, length: gibibytes * gib, sectorSize: sector)
      #expect(index.memoryLimit == Int(gibibytes * 32 * kib))
    }
  }

  @Test func emptiedBitmapIsFreed() throws {
    let index = try shattered(100 * mib)
    #expect(index.bitmapCount == 1)
    for range in index.ranges { try index.remove(offset: range.offset, length: range.length) }
    #expect(index.bitmapCount == 0 && index.memoryBytes <= 64 && index.freeBytes == 0)
    try index.checkInvariants()
  }

  @Test func filledBitmapBecomesAnExtent() throws {
    let index = try shattered(100 * mib)
    for range in index.ranges { try index.add(offset: range.offset + sector, length: sector) }
    #expect(index.bitmapCount == 0 && index.extentCount == 1)
    #expect(index.largestRun == 100 * mib)
    try index.checkInvariants()
  }

  @Test func recalculationTakesTheSmallerForm() throws {
    let index = try shattered(100 * mib)
    for range in index.ranges.dropFirst(400) {
      try index.remove(offset: range.offset, length: range.length)
    }
    let before = index.ranges
    #expect(index.bitmapCount == 1)
    index.recalculateThresholds()
    #expect(index.bitmapCount == 0 && index.extentCount == 400)
    #expect(index.ranges == before)
    try index.checkInvariants()
  }

  @Test func copyIsIndependent() throws {
    let index = try shattered(100 * mib)
    let copy = index.copy()
    try copy.remove(offset: 0, length: sector)
    #expect(index.isFree(offset: 0, length: sector))
    #expect(!copy.isFree(offset: 0, length: sector))
    try index.checkInvariants()
    try copy.checkInvariants()
  }
}
