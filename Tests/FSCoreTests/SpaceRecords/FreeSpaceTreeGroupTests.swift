import FreeSpace
import TestSupport
import Testing

@testable import FSCore

/// The items of a group in the free space tree, by themselves: random changes against an index,
/// and items that break each rule.
@Suite(.timeLimit(.minutes(10))) struct FreeSpaceTreeGroupTests {
  private static let start: UInt64 = 64 << 20

  private static func layout(length: UInt64) -> FreeSpaceTreeLayout {
    FreeSpaceTreeLayout(start: start, length: length, sectorSize: 4096)
  }

  private static func changes(_ layout: FreeSpaceTreeLayout) -> SpaceChanges {
    SpaceChanges(
      start: LogicalAddress(layout.start), length: layout.length, sectorSize: layout.sectorSize)
  }

  private static func ranges(_ index: FreeSpaceIndex) -> [Range<UInt64>] {
    var ranges: [Range<UInt64>] = []
    index.forEachRange { (offset, length) throws(Never) in
      ranges.append(offset..<offset + length)
    }
    return ranges
  }

  /// Seen on a group of 112 MiB that Linux 6.18 fragmented one range a commit: the 158th range
  /// made bitmaps of it, and with 57 it still had them.
  @Test func thresholdsAreLinux() {
    #expect(Self.layout(length: 112 << 20).mostExtents == 157)
    #expect(Self.layout(length: 112 << 20).fewestInBitmaps == 57)
    #expect(Self.layout(length: 8 << 20).mostExtents == 11)
    #expect(Self.layout(length: 8 << 20).fewestInBitmaps == 0)
  }

  @Test(
    .timeLimit(.minutes(1)),
    arguments: zip([112 << 20, 8 << 20, 5121 << 12, 4096] as [UInt64], [1, 2, 3, 4] as [UInt64]))
  func randomChanges(length: UInt64, seed: UInt64) throws {
    print("free space tree: seed \(seed)")
    var random = SeededRandom(testSeed: seed)
    let fixture = try TreeFixture(id: .freeSpace, cacheBytes: 1 << 20)
    let layout = Self.layout(length: length)
    let items = FreeSpaceTreeGroup(fixture.tree, layout)
    let model = FreeSpaceIndex(start: Self.start, length: length, sectorSize: 4096)
    try model.add(offset: Self.start, length: length)
    // Neighbours that must stay as they are.
    let others = [
      FreeSpaceTreeLayout(start: Self.start - (8 << 20), length: 8 << 20, sectorSize: 4096),
      FreeSpaceTreeLayout(start: layout.end, length: 8 << 20, sectorSize: 4096),
    ].map { FreeSpaceTreeGroup(fixture.tree, $0) }
    try fixture.transactions.perform(reserving: 1) { (handle) throws(FilesystemError) in
      try items.write(model, in: handle)
      for other in others {
        let all = FreeSpaceIndex(start: other.layout.start, length: 8 << 20, sectorSize: 4096)
        try? all.add(offset: other.layout.start, length: 8 << 20)
        try other.write(all, in: handle)
      }
    }

    // A small group never goes back from bitmaps to extents.
    var forms: Set<Bool> = [try items.info().usesBitmaps]
    for step in 0..<240 {
      var changes = Self.changes(layout)
      // Fragment, then unite.
      let isFragmenting = step % 120 < 60
      for _ in 0..<random.below(20) {
        let sector = random.below(Int(length / 4096))
        let most = random.below(8) == 0 ? 4000 : 3
        let count = min(Int(length / 4096) - sector, 1 + random.below(most))
        let (offset, bytes) = (Self.start + UInt64(sector) * 4096, UInt64(count) * 4096)
        let address = LogicalAddress(offset)
        if model.isFree(offset: offset, length: bytes), isFragmenting || random.below(4) == 0 {
          try model.remove(offset: offset, length: bytes)
          try changes.take(address, bytes)
        } else if !isFragmenting || random.below(8) == 0 {
          // Whatever is used of the range.
          for at in stride(from: offset, to: offset + bytes, by: 4096)
          where !model.isFree(offset: at, length: 4096) {
            try model.add(offset: at, length: 4096)
            try changes.free(LogicalAddress(at), 4096)
          }
        }
      }
      let before = try items.info()
      try fixture.transactions.perform(reserving: 1) { (handle) throws(FilesystemError) in
        try items.apply(changes, in: handle)
      }
      if random.below(10) == 0 { try fixture.commit() }

      let (index, info) = try items.read()
      #expect(Self.ranges(index) == Self.ranges(model), "step \(step)")
      #expect(Int(info.extentCount) == model.rangeCount)
      forms.insert(info.usesBitmaps)
      let count = UInt64(info.extentCount)
      if before.usesBitmaps {
        #expect(info.usesBitmaps == (count >= layout.fewestInBitmaps))
      } else {
        #expect(info.usesBitmaps == (count > layout.mostExtents))
      }
    }
    if length > 4096 { #expect(forms == [true, false]) }
    for other in others {
      #expect(Self.ranges(try other.read().index) == [other.layout.start..<other.layout.end])
    }
    try fixture.transactions.perform(reserving: 1) { (handle) throws(FilesystemError) in
      for group in others + [items] { try group.remove(in: handle) }
    }
    let content = try fixture.tree.checkedContent()
    #expect(content.items.isEmpty)
    #expect(fixture.liveBlocks == content.blockCount)
  }

  /// All items of a group go, over many leaves, and none of its neighbours.
  @Test(.timeLimit(.minutes(1)), arguments: [false, true], [4096 as UInt64, 16384])
  func removal(usesBitmaps: Bool, nodeSize: UInt64) throws {
    let length: UInt64 = 1 << 30
    let fixture = try TreeFixture(id: .freeSpace, nodeSize: nodeSize, cacheBytes: 1 << 20)
    let groups = [Self.start, Self.start + length, Self.start + 2 * length].map {
      FreeSpaceTreeGroup(
        fixture.tree, FreeSpaceTreeLayout(start: $0, length: length, sectorSize: 4096))
    }
    let layout = groups[1].layout
    // As many ranges as may stand as extents.
    let count = layout.mostExtents
    for group in groups {
      let index = FreeSpaceIndex(start: group.layout.start, length: length, sectorSize: 4096)
      for number in 0..<count {
        try index.add(offset: group.layout.start + number * 8192, length: 4096)
      }
      try fixture.transactions.perform(reserving: 1) { (handle) throws(FilesystemError) in
        try group.write(index, usesBitmaps: usesBitmaps, in: handle)
      }
    }
    try fixture.commit()
    let before = try fixture.tree.checkedContent()
    let itemCount = 1 + (usesBitmaps ? Int(layout.bitmapCount) : Int(count))
    #expect(before.items.count == 3 * itemCount)
    #expect(before.blockCount > 6)
    let bytes = before.items.prefix(itemCount).reduce(0) {
      $0 + $1.bytes.count + Format.itemHeaderSize
    }
    #expect(UInt64(bytes) <= layout.mostBytes && layout.mostBytes - UInt64(bytes) < 256)

    try fixture.transactions.perform(reserving: 1) { (handle) throws(FilesystemError) in
      try groups[1].remove(in: handle)
      // And once more: there is nothing to do.
      try groups[1].remove(in: handle)
    }
    let after = try fixture.tree.checkedContent()
    #expect(after.items.count == 2 * itemCount)
    #expect(fixture.liveBlocks == after.blockCount)
    for group in [groups[0], groups[2]] {
      let (index, info) = try group.read()
      #expect(index.rangeCount == Int(count) && info.usesBitmaps == usesBitmaps)
    }
    #expect(throws: FilesystemError.self) { try groups[1].read() }
  }

  /// Changes that cannot be right are refused, in either form.
  @Test(arguments: [false, true]) func impossibleChanges(usesBitmaps: Bool) throws {
    let layout = Self.layout(length: 16 << 20)
    let model = FreeSpaceIndex(start: layout.start, length: layout.length, sectorSize: 4096)
    try model.add(offset: layout.start + 8192, length: 8192)
    for (offset, isFreed) in [(UInt64(0), false), (4096, false), (12288, true), (8192, true)] {
      let fixture = try TreeFixture(id: .freeSpace)
      let items = FreeSpaceTreeGroup(fixture.tree, layout)
      var changes = Self.changes(layout)
      let address = LogicalAddress(layout.start + offset)
      if isFreed { try changes.free(address, 8192) } else { try changes.take(address, 8192) }
      var failure: FilesystemError?
      try fixture.transactions.perform(reserving: 1) { (handle) throws(FilesystemError) in
        try items.write(model, usesBitmaps: usesBitmaps, in: handle)
        do throws(FilesystemError) { try items.apply(changes, in: handle) } catch {
          failure = error
        }
      }
      guard case .corrupt = failure else {
        Issue.record("\(offset) \(isFreed): \(failure as Any)")
        continue
      }
    }
  }

  struct Item {
    var key: Key
    var bytes: [UInt8] = []
    init(_ start: UInt64, _ type: ItemType, _ length: UInt64, _ bytes: [UInt8] = []) {
      key = Key(ObjectID(FreeSpaceTreeGroupTests.start + start), type, length)
      self.bytes = bytes
    }
  }

  /// What a hostile image may hold; nil is what may be.
  @Test func rules() throws {
    let length: UInt64 = 12 << 20
    let one: [UInt8] = [1, 0, 0, 0, 0, 0, 0, 0]
    let two: [UInt8] = [2, 0, 0, 0, 0, 0, 0, 0]
    let bits: [UInt8] = [1, 0, 0, 0, 1, 0, 0, 0]
    let full = [UInt8](repeating: 0, count: 255) + [0x80]
    let half = [1] + [UInt8](repeating: 0, count: 127)
    let whole: UInt64 = 8 << 20
    let cases: [(isRight: Bool, items: [Item])] = [
      (true, [Item(0, .freeSpaceInfo, length, one), Item(0, .freeSpaceExtent, length)]),
      (true, [Item(0, .freeSpaceInfo, length, [0, 0, 0, 0, 0, 0, 0, 0])]),
      (
        true,
        [
          Item(0, .freeSpaceInfo, length, two), Item(0, .freeSpaceExtent, 4096),
          Item(8192, .freeSpaceExtent, 4096),
        ]
      ),
      (
        true,
        [
          Item(0, .freeSpaceInfo, length, bits), Item(0, .freeSpaceBitmap, whole, full),
          Item(whole, .freeSpaceBitmap, length - whole, half),
        ]
      ),
      (false, []),
      (false, [Item(0, .freeSpaceExtent, length)]),
      (false, [Item(0, .freeSpaceInfo, length - 4096, one), Item(0, .freeSpaceExtent, 4096)]),
      (false, [Item(0, .freeSpaceInfo, length, Array(one.prefix(4)))]),
      (false, [Item(0, .freeSpaceInfo, length, [0, 0, 0, 0, 2, 0, 0, 0])]),
      (false, [Item(0, .freeSpaceInfo, length, two), Item(0, .freeSpaceExtent, length)]),
      (false, [Item(0, .freeSpaceInfo, length, one), Item(0, .freeSpaceExtent, 4096, [0])]),
      (false, [Item(0, .freeSpaceInfo, length, one), Item(0, .freeSpaceExtent, 0)]),
      (false, [Item(0, .freeSpaceInfo, length, one), Item(1, .freeSpaceExtent, 4096)]),
      (false, [Item(0, .freeSpaceInfo, length, one), Item(0, .freeSpaceExtent, 4097)]),
      (false, [Item(0, .freeSpaceInfo, length, one), Item(4096, .freeSpaceExtent, length)]),
      (false, [Item(0, .freeSpaceInfo, length, one), Item(4096, .freeSpaceExtent, .max)]),
      (
        false,
        [
          Item(0, .freeSpaceInfo, length, two), Item(0, .freeSpaceExtent, 8192),
          Item(4096, .freeSpaceExtent, 8192),
        ]
      ),
      (
        false,
        [
          Item(0, .freeSpaceInfo, length, one), Item(0, .freeSpaceExtent, 4096),
          Item(4096, .freeSpaceExtent, 4096),
        ]
      ),
      (
        false,
        [
          Item(0, .freeSpaceInfo, length, one), Item(0, .freeSpaceExtent, 4096),
          Item(4096, .uuidSubvolume, 4096),
        ]
      ),
      (
        false,
        [Item(0, .freeSpaceInfo, length, one), Item(0, .freeSpaceBitmap, whole, full)]
      ),
      (false, [Item(0, .freeSpaceInfo, length, bits), Item(0, .freeSpaceExtent, 4096)]),
      (false, [Item(0, .freeSpaceInfo, length, bits), Item(0, .freeSpaceBitmap, whole, full)]),
      (
        false,
        [
          Item(0, .freeSpaceInfo, length, bits), Item(0, .freeSpaceBitmap, whole, half),
          Item(whole, .freeSpaceBitmap, length - whole, half),
        ]
      ),
      (
        false,
        [
          Item(0, .freeSpaceInfo, length, bits), Item(0, .freeSpaceBitmap, whole, full),
          Item(whole, .freeSpaceBitmap, whole, full),
        ]
      ),
    ]
    for (number, (isRight, list)) in cases.enumerated() {
      let fixture = try TreeFixture(id: .freeSpace)
      try fixture.transactions.perform(reserving: 1) { (handle) throws(FilesystemError) in
        for item in list {
          try fixture.tree.insert(item.key, size: item.bytes.count, in: handle) {
            $0.store(item.bytes, at: 0)
          }
        }
      }
      let items = FreeSpaceTreeGroup(fixture.tree, Self.layout(length: length))
      var failure: FilesystemError?
      do throws(FilesystemError) { _ = try items.read() } catch { failure = error }
      if isRight {
        #expect(failure == nil, "case \(number)")
      } else {
        guard case .corrupt = failure else {
          Issue.record("case \(number): \(failure as Any)")
          continue
        }
      }
    }
  }

  /// Random ranges come and go; what is left is what differs from the beginning.
  @Test func changesCancelEachOther() throws {
    var random = SeededRandom(testSeed: 5)
    let layout = Self.layout(length: 300 << 12)
    var used = [Bool](repeating: false, count: 300)
    for sector in 0..<300 { used[sector] = random.below(2) == 0 }
    for _ in 0..<30 {
      let before = used
      var changes = Self.changes(layout)
      for _ in 0..<random.below(60) {
        let first = random.below(300)
        let kind = used[first]
        var end = first
        while end < 300, used[end] == kind, end - first < 20 { end += 1 }
        let (address, bytes) = (
          LogicalAddress(layout.start + UInt64(first) * 4096), UInt64(end - first) * 4096
        )
        if kind { try changes.free(address, bytes) } else { try changes.take(address, bytes) }
        for sector in first..<end { used[sector].toggle() }
      }
      var left = [Bool](repeating: false, count: 300)
      for (range, isFreed) in changes.ranges {
        for address in stride(from: range.lowerBound, to: range.upperBound, by: 4096) {
          let sector = Int((address - layout.start) / 4096)
          #expect(before[sector] == isFreed && !left[sector])
          left[sector] = true
        }
      }
      for sector in 0..<300 { #expect(left[sector] == (before[sector] != used[sector])) }
      #expect(changes.isEmpty == (before == used))
    }
  }
}
