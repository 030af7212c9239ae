import FreeSpace
import TestSupport
import Testing

@testable import FSCore

/// Groups with room are found without a look at all of them.
@Suite(.timeLimit(.minutes(1))) struct GroupHintsTests {
  /// Against a plain array, while slots are added and numbers change.
  @Test(arguments: 0..<UInt64(20)) func theTreeFindsWhatAScanFinds(seed: UInt64) {
    var random = SeededRandom(testSeed: seed)
    var tree = MaximumTree()
    var plain: [UInt64] = []
    #expect(tree.maximum == 0 && tree.firstSlot(from: 0, atLeast: 1) == nil)
    for _ in 0..<3000 {
      if plain.isEmpty || random.below(8) == 0 {
        tree.grow(toHold: plain.count)
        plain.append(0)
      }
      let slot = random.below(plain.count)
      let value = random.below(3) == 0 ? 0 : random.below(1000 as UInt64)
      plain[slot] = value
      tree[slot] = value
      #expect(tree[slot] == value && tree.maximum == plain.max())
      let first = random.below(plain.count + 2)
      let minimum = 1 + random.below(1100 as UInt64)
      let found = first < plain.count ? plain[first...].firstIndex { $0 >= minimum } : nil
      #expect(tree.firstSlot(from: first, atLeast: minimum) == found)
    }
  }

  /// An extent is found in the only group that has so long a run, and otherwise the longest piece.
  @Test func theLongestRunIsFoundAmongManyGroups() throws {
    let device = try TestImage.make(sizeBytes: 96 << 30)
    let volume = try Volume.mountForTest(device)
    let id = try volume.makeFile("/large")
    try volume.content.allocate(id, .plain, offset: 0, length: 72 << 30)
    try volume.synchronizeAll()
    // Some place in the middle becomes free.
    try volume.content.allocate(id, .punchHole, offset: 40 << 30, length: 3 << 20)
    try volume.content.allocate(id, .punchHole, offset: 20 << 30, length: 1 << 20)
    try volume.synchronizeAll()
    try volume.synchronizeAll()
    let data = volume.space.groups.data
    #expect(data.groups.count > 64)
    func longest() -> UInt64 {
      data.groups.map { $0.state.withLock { $0.index?.largestRun ?? 0 } }.max() ?? 0
    }
    var before = longest()
    var pieces: [(LogicalAddress, UInt64)] = []
    for _ in 0..<12 {
      let piece = try volume.space.allocator.allocateData(
        length: before + 4096, minimum: 4096, hint: nil)
      #expect(piece.1 == before)
      pieces.append(piece)
      before = longest()
      if before < 4096 { break }
      #expect(volume.space.groups.brokenInvariantsWhenQuiet() == [])
    }
    for (address, length) in pieces { volume.space.allocator.abandon(address, length: length) }
    #expect(volume.space.groups.brokenInvariantsWhenQuiet() == [])
    try volume.unmount()
    try CacheJudge.check(device)
  }

  /// Groups that are not loaded are found by how much is free in them, the fullest last.
  @Test func theEmptiestGroupIsLoadedFirst() throws {
    let device = try TestImage.make(sizeBytes: 64 << 30)
    var volume = try Volume.mountForTest(device)
    let id = try volume.makeFile("/large")
    try volume.content.allocate(id, .plain, offset: 0, length: 40 << 30)
    try volume.synchronizeAll()
    for number in 0..<12 as Range<UInt64> {
      try volume.content.allocate(
        id, .punchHole, offset: number * 3 << 30, length: (number + 1) << 22)
    }
    try volume.unmount()

    volume = try Volume.mountForTest(device)
    let data = volume.space.groups.data
    var last = UInt64.max
    while let group = data.fullestUnloaded {
      let free = group.unloadedFree
      #expect(free == data.groups.map(\.unloadedFree).max() && free <= last)
      last = free
      volume.space.loader.load(group)
      #expect(group.loading == .loaded)
      #expect(volume.space.groups.brokenInvariantsWhenQuiet() == [])
    }
    #expect(data.groups.allSatisfy { $0.unloadedFree == 0 })
    try volume.unmount()
  }
}
