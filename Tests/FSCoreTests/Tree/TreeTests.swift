import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// The tree against a dictionary: random changes, with a commit now and then, at node sizes
/// where splits and merges are frequent.
@Suite(.timeLimit(.minutes(10))) struct TreeTests {
  private static func key(_ number: UInt64) -> Key {
    // Items of the uuid tree's type may have any key and content.
    Key(ObjectID(number % 97), .uuidSubvolume, number)
  }

  private static let ascending = (0..<70_000).map { UInt8(truncatingIfNeeded: $0) }

  private static func item(_ number: UInt64, _ size: Int) -> [UInt8] {
    let start = Int(truncatingIfNeeded: number &* 31 & 0xff)
    return Array(ascending[start..<start + size])
  }

  @Test(arguments: [
    (UInt64(4096), 64, UInt64(1)), (4096, 3900, 2), (16384, 400, 3), (65536, 30, 4),
    (4096, 1200, 5),
  ])
  func randomChanges(nodeSize: UInt64, largest: Int, seed: UInt64) throws {
    print("tree: seed \(seed)")
    var random = SeededRandom(testSeed: seed)
    let fixture = try TreeFixture(id: .uuid, nodeSize: nodeSize, cacheBytes: 1 << 20)
    let tree = fixture.tree!
    var model: [Key: [UInt8]] = [:]
    var keys: [UInt64] = []

    for step in 0..<6000 {
      // Grow, then shrink, then grow again.
      let isGrowing = step % 3000 < 1800
      let number: UInt64 = random.below(4000)
      let key = Self.key(number)
      let size = random.below(largest) / 8 * 8 + 8
      let bytes = Self.item(number &+ UInt64(step), size)
      try fixture.transactions.perform(reserving: 1) { (handle) throws(FilesystemError) in
        switch random.below(10) {
        case 0..<(isGrowing ? 6 : 2):
          do throws(FilesystemError) {
            try tree.insert(key, size: size, in: handle) { $0.store(bytes, at: 0) }
            if model[key] != nil { throw .corrupt("inserted twice") }
            model[key] = bytes
            keys.append(number)
          } catch .exists {
            if model[key] == nil { throw .corrupt("said to exist") }
          }
        case 6, 2:
          try tree.replace(key, size: size, in: handle) { $0.store(bytes, at: 0) }
          model[key] = bytes
          keys.append(number)
        case 7:
          let found: Void? = try tree.modify(key, in: handle) {
            (item) throws(FilesystemError) in item[0] ^= 0xff
          }
          if (found != nil) != (model[key] != nil) { throw .corrupt("modified") }
          model[key]?[0] ^= 0xff
        default:
          guard !keys.isEmpty else { return }
          let chosen = Self.key(keys[random.below(keys.count)])
          let wasThere = try tree.delete(chosen, in: handle)
          if wasThere != (model.removeValue(forKey: chosen) != nil) { throw .corrupt("deleted") }
        }
      }
      if step % 500 == 499 { try fixture.commit() }
      if step % 1000 == 999 { try compare(tree, model, fixture) }
    }

    try fixture.commit()
    try compare(tree, model, fixture)
    try compare(try fixture.reopened(), model, nil)

    for key in model.keys {
      try fixture.transactions.perform(reserving: 1) { (handle) throws(FilesystemError) in
        guard try tree.delete(key, in: handle) else { throw .notFound }
      }
    }
    try compare(tree, [:], fixture)
    #expect(fixture.liveBlocks == 1)
  }

  private func compare(
    _ tree: Tree, _ model: [Key: [UInt8]], _ fixture: TreeFixture?
  ) throws {
    let (items, blockCount) = try tree.checkedContent()
    #expect(items.count == model.count)
    for (key, bytes) in items { #expect(model[key] == bytes) }
    if let fixture { #expect(fixture.liveBlocks == blockCount) }

    // The searches agree with the sorted keys.
    let sorted = model.keys.sorted()
    for (index, key) in sorted.enumerated() where index % 7 == 0 {
      let before = try tree.findLast(atMost: Key(key.objectID, key.type, key.offset &- 1)) {
        (key, _) throws(FilesystemError) in key
      }
      if key.offset > 0 { #expect(before == (index > 0 ? sorted[index - 1] : nil)) }
      let after = try tree.findFirst(atLeast: key.successor!) {
        (key, _) throws(FilesystemError) in key
      }
      #expect(after == (index + 1 < sorted.count ? sorted[index + 1] : nil))
      #expect(
        try tree.find(key) { (bytes) throws(FilesystemError) in bytes.byteCount }
          == model[key]?.count)
    }
    var walked: [Key] = []
    try tree.forEach(from: .zero) { (key, _) throws(FilesystemError) in
      walked.append(key)
      return true
    }
    #expect(walked == sorted)
  }

  /// Pairs of items that are near each other or far apart, in leaves that are nearly full; a pair is
  /// the same as two items.
  @Test(arguments: [(UInt64(4096), 60, UInt64(1)), (4096, 1500, 2), (16384, 300, 3)])
  func pairs(nodeSize: UInt64, largest: Int, seed: UInt64) throws {
    var random = SeededRandom(testSeed: seed)
    let fixture = try TreeFixture(id: .uuid, nodeSize: nodeSize, cacheBytes: 1 << 20)
    let tree = fixture.tree!
    var model: [Key: [UInt8]] = [:]
    for step in 0..<3000 {
      let number: UInt64 = random.below(6000)
      let distance: UInt64 = random.below(3) == 0 ? 1 + random.below(3000) : 1
      let (first, second) = (
        Key(1, .uuidSubvolume, number), Key(1, .uuidSubvolume, number + distance)
      )
      let items = [first, second].map { Self.item($0.offset, 8 + random.below(largest)) }
      guard model[second] == nil else { continue }
      try fixture.transactions.perform(reserving: 2) { (handle) throws(FilesystemError) in
        if step % 4 == 3, let key = model.keys.min(by: { $0 < $1 }) {
          guard try tree.delete(key, in: handle) else { throw .corrupt("not there") }
          model[key] = nil
        }
        guard model[second] == nil else { return }
        do throws(FilesystemError) {
          try tree.insert(
            (first, items[0].count), (second, items[1].count), in: handle,
            { $0.store(items[0], at: 0) }, { $0.store(items[1], at: 0) })
          if model[first] != nil { throw .corrupt("inserted twice") }
          model[first] = items[0]
          model[second] = items[1]
        } catch .exists {
          if model[first] == nil { throw .corrupt("said to exist") }
        }
      }
      if step % 300 == 299 { try fixture.commit() }
      if step % 1000 == 999 { try compare(tree, model, fixture) }
    }
    try fixture.commit()
    try compare(try fixture.reopened(), model, nil)
  }

  @Test func ascendingInsertionsFillLeaves() throws {
    let fixture = try TreeFixture(id: .uuid, nodeSize: 4096)
    let tree = fixture.tree!
    for number in 0..<5000 {
      try fixture.transactions.perform(reserving: 1) { (handle) throws(FilesystemError) in
        try tree.insert(Key(1, .uuidSubvolume, UInt64(number)), size: 16, in: handle) { $0.zero() }
      }
    }
    // 97 items of 41 bytes fill a leaf, 121 pointers a node.
    let leaves = (5000 + 96) / 97
    #expect(try tree.checkedContent().blockCount <= leaves + 2)
  }

  @Test func aChangeCopiesThePathOnce() throws {
    let fixture = try TreeFixture(id: .uuid, nodeSize: 4096)
    let tree = fixture.tree!
    for number in 0..<2000 {
      try fixture.transactions.perform(reserving: 1) { (handle) throws(FilesystemError) in
        try tree.insert(Key(1, .uuidSubvolume, UInt64(number)), size: 64, in: handle) { $0.zero() }
      }
    }
    try fixture.commit()
    let before = tree.rootState.address
    for _ in 0..<10 {
      try fixture.transactions.perform(reserving: 1) { (handle) throws(FilesystemError) in
        _ = try tree.modify(Key(1, .uuidSubvolume, 7), in: handle) {
          (item) throws(FilesystemError) in item[0] &+= 1
        }
      }
    }
    #expect(tree.rootState.address != before)
    #expect(fixture.cache.takeDirty().count == Int(tree.rootState.level) + 1)
  }

  /// Reading ahead looks at leaves after the tree's lock is let go: meanwhile another thread may
  /// change them, or abandon them before the device has them.
  @Test(.timeLimit(.minutes(1)), arguments: [false, true])
  func readingAheadBesideAWriter(isAbandoned: Bool) throws {
    let fixture = try TreeFixture(id: .uuid, nodeSize: 4096)
    let tree = fixture.tree!
    func change(
      _ numbers: Range<UInt64>,
      _ body: (Key, borrowing TransactionHandle) throws(FilesystemError) -> Void
    ) throws {
      for number in numbers {
        try fixture.transactions.perform(reserving: 1) { (handle) throws(FilesystemError) in
          try body(Key(1, .uuidSubvolume, number), handle)
        }
      }
    }
    // Nine items a leaf.
    try change(0..<400) { (key, handle) throws(FilesystemError) in
      try tree.insert(key, size: 400, in: handle) { $0.zero() }
    }
    try fixture.commit()
    // Leaves 0 to 10 are of the running transaction; leaf 11 is to be read.
    try change(0..<99) { (key, handle) throws(FilesystemError) in
      _ = try tree.modify(key, in: handle) { (item) throws(FilesystemError) in item[0] = 1 }
    }
    #expect(tree.root.child(10).key == Key(1, .uuidSubvolume, 90))
    let leaf = tree.root.child(10).address
    fixture.cache.drop(tree.root.child(11).address)

    let reads = fixture.disk.count(.read)
    fixture.disk.hold(.read)
    let outcome = Guarded<FilesystemError?>(nil, rank: .leaf)
    let reader = BackgroundThread {
      do throws(FilesystemError) {
        try tree.prefetchLeaves(
          from: Key(1, .uuidSubvolume, 0), through: Key(1, .uuidSubvolume, .max), count: 11)
      } catch {
        outcome.withLock { $0 = error }
      }
    }
    #expect(fixture.disk.wait(.read, beyond: reads))
    try change(90..<(isAbandoned ? 99 : 91)) { (key, handle) throws(FilesystemError) in
      try tree.delete(key, in: handle)
    }
    if isAbandoned { fixture.cache.drop(leaf) }
    fixture.disk.letGo(.read)
    reader.join()
    #expect(outcome.withLock { $0 } == nil)
    #expect(try tree.checkedContent().items.count == (isAbandoned ? 391 : 399))
  }
}
