import Glibc
import TestSupport
import Testing

@testable import FSCore

/// The queue of reference changes and its application, against a naive model and against what
/// the trees themselves refer to.
@Suite(.timeLimit(.minutes(10))) struct ExtentReferencesTests {
  private static let variants: [(nodeSize: UInt64, isSkinny: Bool, hasOldBlocks: Bool)] = [
    (4096, true, false), (4096, false, false), (16384, true, true),
  ]

  /// Adds and drops data references at random, applies them now and then, and compares.
  @Test(arguments: variants, [1, 2] as [UInt64])
  func dataReferencesMatchModel(
    variant: (nodeSize: UInt64, isSkinny: Bool, hasOldBlocks: Bool), seed: UInt64
  ) throws {
    let fixture = try ExtentReferencesFixture(
      nodeSize: variant.nodeSize, isSkinny: variant.isSkinny, hasOldBlocks: variant.hasOldBlocks)
    var random = SeededRandom(testSeed: seed)
    var model: [LogicalAddress: FixtureReferences] = [:]
    var live: [LogicalAddress] = []

    for _ in 0..<40 {
      try fixture.change { (h) throws(FilesystemError) in
        for _ in 0..<Int.random(in: 0...300, using: &random) {
          if live.isEmpty || Int.random(in: 0..<6, using: &random) == 0 {
            let length = 4096 * (2 * UInt64.random(in: 2...9, using: &random) + 1)
            let address = fixture.space.allocateData(length: length)
            let identity = Self.identity(&random)
            fixture.references.add(
              address, .data(length: length), identity, count: 1, newExtent: true, in: h)
            model[address] = FixtureReferences(
              kind: .data(length: length), counts: [identity: 1])
            live.append(address)
            continue
          }
          let index = Int.random(in: 0..<live.count, using: &random)
          // Most go to a few extents, which so get many.
          let address = live[Bool.random(using: &random) ? index % 3 % live.count : index]
          let kind = model[address]!.kind
          if Int.random(in: 0..<5, using: &random) < 3 {
            let identity = Self.identity(&random)
            let count = Int32.random(in: 1...3, using: &random)
            fixture.references.add(
              address, kind, identity, count: count, newExtent: false, in: h)
            model[address]!.counts[identity, default: 0] += Int(count)
          } else {
            let sorted = model[address]!.counts.sorted { $0.key.sequence < $1.key.sequence }
            let (identity, present) = sorted.randomElement(using: &random)!
            let count = Int.random(in: 1...present, using: &random)
            fixture.references.add(
              address, kind, identity, count: -Int32(count), newExtent: false, in: h)
            model[address]!.counts[identity] = present == count ? nil : present - count
            if model[address]!.counts.isEmpty {
              model[address] = nil
              live.removeAll { $0 == address }
            }
          }
        }
        for address in live.shuffled(using: &random).prefix(10) {
          let state = try fixture.references.state(of: address, model[address]!.kind)
          #expect(state.references == UInt64(model[address]!.counts.values.reduce(0, +)))
        }
        if Bool.random(using: &random) {
          try fixture.references.run(in: h, atMost: Int.random(in: 1...100, using: &random))
        }
      }
      if Int.random(in: 0..<4, using: &random) == 0 {
        try fixture.commit()
        try fixture.verify(extra: model)
      }
    }
    try fixture.commit()
    try fixture.verify(extra: model)
  }

  private static func identity(_ random: inout SeededRandom) -> ReferenceIdentity {
    let number = UInt64.random(in: 0..<60, using: &random)
    if number % 4 == 0 { return .sharedData(parent: LogicalAddress(number << 14)) }
    return .data(
      root: TreeID(256 + number % 2), inode: ObjectID(257 + number % 5),
      offset: (number &- 20) &* 4096)
  }

  /// Subvolumes that share blocks and extents change and are snapshotted again: the references
  /// are always those that a walk through all trees finds.
  @Test(arguments: variants, [1, 2, 3] as [UInt64])
  func sharedTreesMatchWalk(
    variant: (nodeSize: UInt64, isSkinny: Bool, hasOldBlocks: Bool), seed: UInt64
  ) throws {
    let fixture = try ExtentReferencesFixture(
      nodeSize: variant.nodeSize, isSkinny: variant.isSkinny, hasOldBlocks: variant.hasOldBlocks)
    var random = SeededRandom(testSeed: seed)
    var files = [TreeID.topLevel: SubvolumeModel(keyCount: variant.nodeSize == 4096 ? 600 : 2000)]

    for round in 0..<14 {
      if round % 3 == 2 {
        let source = files.keys.sorted().randomElement(using: &random)!
        let id = TreeID(UInt64(256 + round))
        try fixture.snapshot(of: source, as: id)
        files[id] = files[source]
      }
      for id in files.keys.sorted() where Int.random(in: 0..<3, using: &random) > 0 {
        var file = files[id]!
        try fixture.change { (h) throws(FilesystemError) in
          for _ in 0..<Int.random(in: 0...150, using: &random) {
            try file.step(id, fixture, &random, in: h)
          }
          try fixture.references.run(in: h, atMost: Int.random(in: 0...50, using: &random))
        }
        files[id] = file
      }
      try fixture.commit()
      try fixture.verify()
    }

    // All files are removed again.
    for id in files.keys.sorted() {
      try fixture.change { (h) throws(FilesystemError) in
        try files[id]!.removeAll(id, fixture, in: h)
      }
    }
    try fixture.commit()
    try fixture.verify()
    let left = try fixture.stored()
    #expect(!left.values.contains { !$0.kind.isTreeBlock })
  }

  /// Several threads change subvolumes and apply, while another commits.
  @Test func threadsChangeAndApply() throws {
    let fixture = try ExtentReferencesFixture(nodeSize: 4096)
    var random = SeededRandom(testSeed: 9)
    var file = SubvolumeModel(keyCount: 800)
    try fixture.change { (h) throws(FilesystemError) in
      for _ in 0..<600 { try file.step(.topLevel, fixture, &random, in: h) }
    }
    var ids: [TreeID] = [.topLevel]
    for number in 0..<3 as Range<UInt64> {
      try fixture.commit()
      try fixture.snapshot(of: .topLevel, as: TreeID(256 + number))
      ids.append(TreeID(256 + number))
    }

    let failures = Guarded<[String]>([], rank: .leaf)
    let first = file
    let threads = ids.enumerated().map { (number, id) in
      FixtureThread {
        do {
          var file = first
          var random = SeededRandom(testSeed: UInt64(number + 1))
          for _ in 0..<60 {
            try fixture.change { (h) throws(FilesystemError) in
              for _ in 0..<20 { try file.step(id, fixture, &random, in: h) }
              if Bool.random(using: &random) {
                try fixture.references.run(in: h, atMost: 30)
              }
            }
          }
        } catch {
          failures.withLock { $0.append("\(error)") }
        }
      }
    }
    for _ in 0..<10 {
      usleep(20_000)
      try fixture.commit()
    }
    for thread in threads { thread.join() }
    #expect(failures.withLock { $0 } == [])
    try fixture.commit()
    try fixture.verify()
  }

  /// But that the space of data, which a reader may have found, is pinned.
  @Test func newExtentThatIsFreedLeavesNoTrace() throws {
    let fixture = try ExtentReferencesFixture()
    let before = fixture.space.state.withLock { $0.extents }
    try fixture.change { (h) throws(FilesystemError) in
      let data = fixture.space.allocateData(length: 20480)
      let identity = ReferenceIdentity.data(root: 5, inode: 257, offset: 0)
      let kind = ExtentKind.data(length: 20480)
      fixture.references.add(data, kind, identity, count: 1, newExtent: true, in: h)
      #expect(fixture.references.pendingCount == 1)
      fixture.references.add(data, kind, identity, count: -1, newExtent: false, in: h)
      // Its checksums may be there, so its space is not free yet.
      #expect(fixture.space.state.withLock { $0.extents[data]?.use } == .inFlight)
      try fixture.references.run(in: h)
      #expect(fixture.space.state.withLock { $0.extents[data]?.use } == .pinned)
      #expect(fixture.space.state.withLock { $0.abandonedCount } == 0)

      let block = try fixture.space.allocateTreeBlock(for: 5, level: 0, in: h)
      let tree = ReferenceIdentity.treeBlock(root: 5)
      let level = ExtentKind.treeBlock(level: 0)
      fixture.references.add(block, level, tree, count: 1, newExtent: true, in: h)
      fixture.references.add(block, level, tree, count: -1, newExtent: false, in: h)
      #expect(fixture.space.state.withLock { $0.abandonedCount } == 1)
      #expect(fixture.references.pendingCount == 0)
    }
    fixture.space.releasePinned()
    #expect(fixture.space.state.withLock { $0.extents } == before)
    try fixture.verify()
  }

  @Test func stateAndExclusivitySeeTreeAndQueue() throws {
    let fixture = try ExtentReferencesFixture()
    let references = fixture.references
    let kind = ExtentKind.data(length: 12288)
    let own = ReferenceIdentity.data(root: 5, inode: 257, offset: 0)
    let other = ReferenceIdentity.data(root: 5, inode: 258, offset: 0)
    let address = fixture.space.allocateData(length: 12288)
    func isExclusive() throws(FilesystemError) -> Bool {
      try references.isExclusive(
        data: address, length: 12288, root: 5, inode: 257, offset: 0)
    }

    try fixture.change { (h) throws(FilesystemError) in
      references.add(address, kind, own, count: 2, newExtent: true, in: h)
      #expect(try isExclusive())
      try references.run(in: h)
      #expect(try isExclusive())
      #expect(try references.state(of: address, kind).references == 2)

      references.add(address, kind, other, count: 1, newExtent: false, in: h)
      #expect(try !isExclusive())
      try references.withReferencesLocked { () throws(FilesystemError) in
        #expect(try references.state(of: address, kind).references == 3)
      }
      try references.run(in: h)
      #expect(try !isExclusive())

      references.add(address, kind, other, count: -1, newExtent: false, in: h)
      #expect(try !isExclusive())
      try references.run(in: h)
      // After a crash the other one is there again.
      #expect(try !isExclusive())
    }
    try fixture.commit()
    references.didCommit(0)
    #expect(try isExclusive())

    try fixture.change { (h) throws(FilesystemError) in
      references.add(address, kind, own, count: -1, newExtent: false, in: h)
      try references.run(in: h)
      #expect(try isExclusive())
      references.add(address, kind, own, count: -1, newExtent: false, in: h)
      #expect(try !isExclusive())
      #expect(try references.state(of: address, kind).references == 0)
      try references.run(in: h)
      #expect(throws: FilesystemError.self) { try references.state(of: address, kind) }
    }
    try fixture.commit()
    try fixture.verify()
  }

  @Test func fullBackrefIsSetAndSeen() throws {
    let fixture = try ExtentReferencesFixture()
    let references = fixture.references
    let kind = ExtentKind.treeBlock(level: 1)
    try fixture.change { (h) throws(FilesystemError) in
      let block = try fixture.space.allocateTreeBlock(for: 256, level: 1, in: h)
      references.add(block, kind, .treeBlock(root: 256), count: 1, newExtent: true, in: h)
      references.setFullBackref(block, level: 1, in: h)
      #expect(try references.state(of: block, kind) == (1, true))
      try references.run(in: h)
      #expect(try references.state(of: block, kind) == (1, true))

      let old = try fixture.space.allocateTreeBlock(for: 256, level: 1, in: h)
      references.add(old, kind, .treeBlock(root: 256), count: 1, newExtent: true, in: h)
      try references.run(in: h)
      #expect(try references.state(of: old, kind) == (1, false))
      references.setFullBackref(old, level: 1, in: h)
      #expect(try references.state(of: old, kind) == (1, true))
      try references.run(in: h)
      #expect(try references.state(of: old, kind) == (1, true))
    }
  }

  /// References that cannot be end as errors, and no later run passes over them.
  @Test func contradictionsThrow() throws {
    let data = ReferenceIdentity.data(root: 5, inode: 257, offset: 0)
    let kind = ExtentKind.data(length: 4096)
    for number in 0..<4 {
      let fixture = try ExtentReferencesFixture()
      let references = fixture.references
      #expect(throws: FilesystemError.self) {
        try fixture.change { (h) throws(FilesystemError) in
          switch number {
          case 0:
            references.add(0x4000_0000, kind, data, count: -1, newExtent: false, in: h)
          case 1:
            // The extent tree's root again.
            references.add(
              0x10_0000, .treeBlock(level: 0), .treeBlock(root: 5), count: 1, newExtent: true,
              in: h)
          case 2:
            references.add(0x4000_0000, kind, data, count: 1, newExtent: true, in: h)
            references.add(0x4000_0000, kind, data, count: 1, newExtent: true, in: h)
          default:
            references.add(0x10_0000, kind, data, count: 1, newExtent: false, in: h)
          }
          try references.run(in: h)
        }
      }
    }
  }

  /// Hashes of data references that collide take the following keys.
  @Test func collidingHashesTakeNeighbouringKeys() throws {
    let fixture = try ExtentReferencesFixture(nodeSize: 4096)
    let keyed = ExtentTreeReferences(tree: fixture.extentTree)
    let identities = (0..<5).map {
      ReferenceIdentity.data(root: 5, inode: 257, offset: UInt64($0) * 4096)
    }
    let hash = identities[0].sequence
    try fixture.change { (h) throws(FilesystemError) in
      // Others stand where the first belongs.
      for (number, identity) in identities.enumerated() where number > 0 {
        guard case .data(let root, let inode, let offset) = identity else { return }
        let key = Key(0x4000_0000, .extentDataRef, hash + UInt64(number - 1))
        let reference = ExtentDataReference(root: root, inode: inode, offset: offset, count: 7)
        try fixture.extentTree.insert(key, size: 28, in: h) { reference.encode(into: $0) }
      }
      let change = ReferenceChange(identity: identities[0], count: 3)
      try keyed.apply(change, to: 0x4000_0000, in: h)
      #expect(try fixture.extentTree.contains(Key(0x4000_0000, .extentDataRef, hash + 4)))
      #expect(try keyed.count(of: identities[0], to: 0x4000_0000) == 3)

      // A gap between them hides nothing, and the next one fills it.
      _ = try fixture.extentTree.delete(Key(0x4000_0000, .extentDataRef, hash + 1), in: h)
      #expect(try keyed.count(of: identities[0], to: 0x4000_0000) == 3)
      try keyed.apply(
        ReferenceChange(identity: identities[0], count: -3), to: 0x4000_0000, in: h)
      #expect(try keyed.count(of: identities[0], to: 0x4000_0000) == 0)
      try keyed.apply(change, to: 0x4000_0000, in: h)
      #expect(try fixture.extentTree.contains(Key(0x4000_0000, .extentDataRef, hash + 1)))
    }
  }
}
