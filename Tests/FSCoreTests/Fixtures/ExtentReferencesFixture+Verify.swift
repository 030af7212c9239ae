import Testing

@testable import FSCore

/// All references of one extent.
struct FixtureReferences: Equatable, CustomStringConvertible {
  var kind: ExtentKind
  var counts: [ReferenceIdentity: Int] = [:]

  var description: String { "\(kind) \(counts)" }
}

extension ExtentReferencesFixture {
  /// Everything in the extent tree. `full` gets the blocks with FULL_BACKREF.
  func stored(
    full: inout Set<LogicalAddress>
  ) throws -> [LogicalAddress: FixtureReferences] {
    var found: [LogicalAddress: FixtureReferences] = [:]
    var totals: [LogicalAddress: UInt64] = [:]
    var items: [(Key, [UInt8])] = []
    try extentTree.forEach(from: .zero) { (key, bytes) throws(FilesystemError) in
      items.append((key, bytes.array(0, bytes.byteCount)))
      return true
    }
    for (key, bytes) in items {
      let address = LogicalAddress(key.objectID.rawValue)
      func count(_ identity: ReferenceIdentity, _ count: Int) {
        #expect(found[address]?.counts[identity] == nil)
        found[address]!.counts[identity] = count
      }
      switch key.type {
      case .extentItem, .metadataItem:
        let record = try ExtentItemRecord(bytes.span.bytes, type: key.type)
        let level = record.treeBlockInfo?.level ?? UInt8(truncatingIfNeeded: key.offset)
        found[address] = FixtureReferences(
          kind: record.isTreeBlock ? .treeBlock(level: level) : .data(length: key.offset))
        totals[address] = record.references
        if record.flags.contains(.fullBackref) { full.insert(address) }
        for reference in record.inlineReferences {
          count(reference.identity, Int(reference.count))
        }
      case .treeBlockRef: count(.treeBlock(root: TreeID(key.offset)), 1)
      case .sharedBlockRef: count(.sharedBlock(parent: LogicalAddress(key.offset)), 1)
      case .sharedDataRef:
        count(.sharedData(parent: LogicalAddress(key.offset)), Int(bytes.span.bytes.u32(0)))
      case .extentDataRef:
        let reference = ExtentDataReference(bytes.span.bytes)
        count(reference.identity, Int(reference.count))
      default: Issue.record("an item \(key)")
      }
    }
    for (address, total) in totals {
      #expect(found[address]!.counts.values.reduce(0, +) == Int(total))
    }
    return found
  }

  /// What the extent tree should hold, by a walk through all trees and what `extra` adds.
  func expected(
    full: Set<LogicalAddress>, extra: [LogicalAddress: FixtureReferences]
  ) throws -> [LogicalAddress: FixtureReferences] {
    var found = extra
    var seen: Set<LogicalAddress> = []
    func count(_ address: LogicalAddress, _ kind: ExtentKind, _ identity: ReferenceIdentity) {
      found[address, default: FixtureReferences(kind: kind)].counts[identity, default: 0] += 1
      #expect(found[address]!.kind == kind)
    }
    func walk(_ block: TreeBlock, _ tree: Tree) throws {
      guard seen.insert(block.address).inserted else { return }
      let content = try Self.content(of: block, isFull: full.contains(block.address))
      for (address, kind, identity) in content { count(address, kind, identity) }
      guard !block.isLeaf else { return }
      for slot in 0..<block.count {
        try walk(try cache.load(tree.childReference(block, slot)), tree)
      }
    }
    for tree in [extentTree, checksumTree] + subvolumes.values {
      count(tree.root.address, .treeBlock(level: tree.root.level), .treeBlock(root: tree.id))
      try walk(tree.root, tree)
    }
    return found
  }

  /// Compares the extent tree, the trees and the accounting. Nothing may be pending.
  func verify(extra: [LogicalAddress: FixtureReferences] = [:]) throws {
    #expect(references.pendingCount == 0)
    var full: Set<LogicalAddress> = []
    let stored = try stored(full: &full)
    let expected = try expected(full: full, extra: extra)
    for address in Set(stored.keys).union(expected.keys)
    where stored[address] != expected[address] {
      Issue.record(
        "extent \(address): \(stored[address] as Any), not \(expected[address] as Any)")
    }

    let (violations, extents) = space.state.withLock { ($0.violations, $0.extents) }
    #expect(violations.isEmpty)
    let inserted = extents.filter { $0.value.use == .inserted }
    #expect(Set(inserted.keys) == Set(stored.keys))
    for (address, extent) in inserted {
      let kind = stored[address]?.kind
      #expect(extent.isMetadata == kind?.isTreeBlock)
    }
    #expect(!extents.values.contains { $0.use == .inFlight })
  }
}
