import FreeSpace
import TestSupport
import Testing

@testable import FSCore

/// One block group by itself, against a list of what each sector is.
@Suite(.timeLimit(.minutes(10))) struct SpaceBlockGroupTests {
  private static let start: UInt64 = 256 << 20
  private static let length: UInt64 = 128 << 20
  private static let sector: UInt64 = 4096

  /// A group whose chunk has a superblock copy at 64 MiB of the device.
  private static func makeGroup(
    used: UInt64 = 0, isNew: Bool = true
  ) throws -> (BlockGroup, Guarded<SpaceCounters>) {
    let stripe = ChunkItem.Stripe(
      deviceID: 1, offset: PhysicalAddress(16 << 20), deviceUUID: .zero)
    let chunk = Chunk(
      start: LogicalAddress(start),
      item: ChunkItem(length: length, flags: .data, sectorSize: 4096, stripes: [stripe]))
    let counters = Guarded(SpaceCounters(), rank: .leaf)
    let group = try BlockGroup(
      chunk: chunk, used: used, isNew: isNew, sectorSize: sector, counters: counters)
    if isNew { group.publishEmpty() }
    return (group, counters)
  }

  private static func expectBalanced(
    _ group: BlockGroup, _ counters: Guarded<SpaceCounters>, _ comment: Comment
  ) {
    let counters = counters.withLock { $0 }
    #expect(
      counters.length == counters.used + counters.free + counters.unloaded + counters.pinned
        + counters.inFlight + counters.unusable, comment)
    group.state.withLock { state in
      let free = state.index?.freeBytes ?? 0
      #expect(state.loading != .loaded || counters.free == free, comment)
      #expect(counters.used == state.used && counters.inFlight == state.inFlight, comment)
      #expect(counters.pinned == state.pinned.bytes, comment)
    }
  }

  private enum Use: Equatable { case inFlight, used, pinned(Generation) }

  @Test func aNewGroupIsFreeButForTheSuperblockCopy() throws {
    let (group, counters) = try Self.makeGroup()
    #expect(group.superblockBytes == 65536)
    #expect(counters.withLock { $0.free } == Self.length - 65536)
    // The copy stands 48 MiB into the chunk.
    let excluded = Self.start + (48 << 20)
    let isFree = group.state.withLock { $0.index!.isFree(offset: excluded, length: 4096) }
    #expect(!isFree)
  }

  /// The first key from a random place on. The order of a dictionary differs between processes.
  private static func pick(
    _ keys: some Collection<UInt64>, _ random: inout SeededRandom
  ) -> UInt64? {
    let place = start + random.below(length)
    var first: UInt64?
    for key in keys where key >= place && key < first ?? .max { first = key }
    return first ?? keys.min()
  }

  @Test(arguments: 0..<UInt64(8))
  func everyRangeGoesItsWay(seed: UInt64) throws {
    var random = SeededRandom(testSeed: seed)
    let (group, counters) = try Self.makeGroup()
    var model: [UInt64: (length: UInt64, use: Use)] = [:]
    var generation: Generation = 10

    for step in 0..<4000 {
      let pick = Self.pick(model.keys, &random)
      switch (random.below(9), pick) {
      case (0...3, _):
        let length = (1 + random.below(64)) * Self.sector
        let hint =
          random.below(2) == 0
          ? nil
          : LogicalAddress(
            Self.start + random.below(Self.length))
        guard
          let address = group.allocate(
            length: length, alignment: Self.sector, hint: hint, from: .none)
        else { continue }
        for (other, range) in model {
          #expect(address.rawValue + length <= other || other + range.length <= address.rawValue)
        }
        model[address.rawValue] = (length, .inFlight)
      case (4...5, .some(let address)) where model[address]!.use == .inFlight:
        let news = try group.didInsert(LogicalAddress(address), model[address]!.length)
        #expect(news.contains(.dirty) == (group.state.withLock { $0.changeCount } == 1))
        model[address]!.use = .used
      case (6, .some(let address)) where model[address]!.use == .inFlight:
        try group.abandon(LogicalAddress(address), model[address]!.length)
        model[address] = nil
      case (6...7, .some(let address)) where model[address]!.use == .used:
        _ = try group.didFree(LogicalAddress(address), model[address]!.length, generation)
        model[address]!.use = .pinned(generation)
      case (8, _) where random.below(40) == 0:
        // The transaction before this one becomes durable.
        let durable = Generation(generation.rawValue - 1)
        try group.unpin(upTo: durable)
        model = model.filter { entry in
          if case .pinned(let pinned) = entry.value.use { return pinned > durable }
          return true
        }
        generation = generation.next
      default: continue
      }
      if step % 200 == 0 { Self.expectBalanced(group, counters, "step \(step), seed \(seed)") }
    }
    Self.expectBalanced(group, counters, "seed \(seed)")
    let taken = model.values.reduce(0) { $0 + $1.length }
    #expect(counters.withLock { $0.free } == Self.length - 65536 - taken)

    try group.unpin(upTo: generation)
    for (address, range) in model where range.use == .inFlight {
      try group.abandon(LogicalAddress(address), range.length)
    }
    let used = model.values.filter { $0.use == .used }.reduce(0) { $0 + $1.length }
    #expect(counters.withLock { $0.free } == Self.length - 65536 - used)
  }

  @Test func whatIsPinnedIsNotHandedOut() throws {
    let (group, _) = try Self.makeGroup()
    let whole = 48 << 20 as UInt64
    let address = try #require(
      group.allocate(length: whole, alignment: Self.sector, hint: nil, from: .none))
    _ = try group.didInsert(address, whole)
    _ = try group.didFree(address, whole, 5)
    while let other = group.allocate(
      length: 1 << 20, alignment: Self.sector, hint: nil, from: .none)
    {
      #expect(other.rawValue + (1 << 20) <= address.rawValue || other >= address + whole)
    }
    try group.unpin(upTo: 5)
    #expect(
      group.allocate(length: whole, alignment: Self.sector, hint: nil, from: .none)
        == address)
  }

  @Test func freeingTwiceIsAnError() throws {
    let (group, _) = try Self.makeGroup()
    let address = try #require(
      group.allocate(length: 1 << 20, alignment: Self.sector, hint: nil, from: .none))
    _ = try group.didInsert(address, 1 << 20)
    let other = try #require(
      group.allocate(length: 1 << 20, alignment: Self.sector, hint: nil, from: .none))
    _ = try group.didInsert(other, 1 << 20)
    _ = try group.didFree(address, 1 << 20, 5)
    #expect(throws: FilesystemError.self) { try group.didFree(address, 1 << 20, 5) }
    #expect(throws: FilesystemError.self) { try group.didFree(address, 4096, 6) }
    try group.unpin(upTo: 5)
    #expect(throws: FilesystemError.self) { try group.didFree(address, 1 << 20, 6) }
  }

  /// Extents of a group that is loaded while they are freed: whatever moment the scan sees of
  /// each, the group ends up with exactly what is free, or the sum shows that it must be redone.
  @Test(arguments: 0..<UInt64(60))
  func loadingWhileExtentsAreFreed(seed: UInt64) throws {
    var random = SeededRandom(testSeed: seed)
    var extents: [(address: UInt64, length: UInt64)] = []
    var position = Self.start
    while position < Self.start + (40 << 20) {
      let length = (1 + random.below(30)) * Self.sector
      extents.append((position, length))
      position += length + random.below(3) * Self.sector
    }
    let used = extents.reduce(0) { $0 + $1.length }
    let (group, counters) = try Self.makeGroup(used: used, isNew: false)
    #expect(group.allocate(length: 4096, alignment: 4096, hint: nil, from: .none) == nil)

    // Some are freed before, some of them durable by the time of loading.
    var freed: Set<Int> = []
    func free(_ share: UInt64, _ generation: Generation) throws {
      for index in extents.indices where !freed.contains(index) && random.below(100) < share {
        let extent = extents[index]
        _ = try group.didFree(LogicalAddress(extent.address), extent.length, generation)
        freed.insert(index)
      }
    }
    try free(15, 7)
    let seenAsFree = random.below(2) == 0 ? freed : []
    let claimed = group.beginLoading()
    #expect(claimed)
    try group.unpin(upTo: 7)
    try free(15, 8)
    let halfFreed = random.below(3) == 0 ? extents.indices.first { !freed.contains($0) } : nil

    let index = FreeSpaceIndex(start: Self.start, length: Self.length, sectorSize: Self.sector)
    try index.add(offset: Self.start, length: Self.length)
    for number in extents.indices where !seenAsFree.contains(number) && number != halfFreed {
      // What is freed meanwhile is seen or not.
      if freed.contains(number), random.below(2) == 0 { continue }
      try index.remove(offset: extents[number].address, length: extents[number].length)
    }
    for range in group.superblockRanges {
      try index.clear(range.start.rawValue, range.length)
    }
    let isPublished = group.publish(index.copy())
    #expect(isPublished == (halfFreed == nil))
    if let halfFreed {
      // The other half of the free arrives; the same scan is right now.
      _ = try group.didFree(
        LogicalAddress(extents[halfFreed].address), extents[halfFreed].length, 8)
      freed.insert(halfFreed)
      #expect(group.publish(index))
    }
    Self.expectBalanced(group, counters, "seed \(seed)")
    try group.unpin(upTo: 8)
    group.state.withLock { state in
      for number in extents.indices {
        let isFree = state.index!.isFree(
          offset: extents[number].address, length: extents[number].length)
        #expect(isFree == freed.contains(number))
      }
    }
    let free =
      Self.length - 65536
      - extents.indices.filter { !freed.contains($0) }
      .reduce(0) { $0 + extents[$1].length }
    #expect(counters.withLock { $0.free } == free)
  }

  @Test func aGroupWhoseSumIsWrongIsNotUsed() throws {
    let (group, counters) = try Self.makeGroup(used: 1 << 20, isNew: false)
    let claimed = group.beginLoading()
    #expect(claimed)
    let index = FreeSpaceIndex(start: Self.start, length: Self.length, sectorSize: Self.sector)
    try index.add(offset: Self.start, length: 4096)
    #expect(!group.publish(index))
    group.markDamaged()
    #expect(group.allocate(length: 4096, alignment: 4096, hint: nil, from: .none) == nil)
    Self.expectBalanced(group, counters, "damaged")
  }

  @Test func thePictureHasWhatIsPinned() throws {
    let (group, _) = try Self.makeGroup()
    var cache = GroupCache()
    func step(_ generation: Generation, maySetUp: Bool = true) -> CacheStep {
      cache.nextStep(group.moment, generation, maySetUp: maySetUp, mayWrite: true)
    }
    let address = try #require(
      group.allocate(length: 1 << 20, alignment: 4096, hint: nil, from: .none))
    #expect(step(9) == .nothing)
    _ = try group.didInsert(address, 1 << 20)
    #expect(step(9) == .setUp)
    #expect(step(9, maySetUp: false) == .invalidate)
    #expect(cache.beginWriting(9) == nil)

    let file = CacheFileLocation(inode: 256, address: 0, length: 65536)
    cache.didSetUp(9, file)
    #expect(step(9) == .write)
    _ = try group.didFree(address, 1 << 20, 9)
    let picture = try #require(group.takePicture())
    #expect(cache.beginWriting(9) == file)
    #expect(try picture.combined().freeBytes == Self.length - 65536)
    cache.didWrite(picture.change, 9)
    #expect(cache.isExact(group.moment) && cache.state == .written)

    // Data in flight: there must be no picture, and nothing to do about it.
    let other = try #require(
      group.allocate(length: 4096, alignment: 4096, hint: nil, from: .none))
    let third = try #require(
      group.allocate(length: 4096, alignment: 4096, hint: nil, from: .none))
    _ = try group.didInsert(other, 4096)
    #expect(group.takePicture() == nil)
    #expect(step(9) == .invalidate)
    cache.didInvalidate()
    #expect(step(9) == .nothing)
    // The next transaction starts anew.
    try group.abandon(third, 4096)
    #expect(step(10) == .setUp)
  }
}
