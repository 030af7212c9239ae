extension ReferenceIdentity {
  var isData: Bool {
    switch self {
    case .treeBlock, .sharedBlock: false
    case .data, .sharedData: true
    }
  }

  /// The type of the reference, inline or as the key of an item of its own.
  var itemType: ItemType {
    switch self {
    case .treeBlock: .treeBlockRef
    case .sharedBlock: .sharedBlockRef
    case .data: .extentDataRef
    case .sharedData: .sharedDataRef
    }
  }

  /// What references of one type are sorted by, and the key offset of a keyed one. A data
  /// reference's is a hash, which others may have too.
  var sequence: UInt64 {
    switch self {
    case .treeBlock(let root): root.rawValue
    case .sharedBlock(let parent), .sharedData(let parent): parent.rawValue
    case .data(let root, let inode, let offset):
      FormatHash.dataReference(root: root, inode: inode, offset: offset)
    }
  }

  /// The bytes that the reference takes within an extent item.
  var inlineSize: Int {
    switch self {
    case .treeBlock, .sharedBlock: 9
    case .data: 29
    case .sharedData: 13
    }
  }
}

extension ExtentKind {
  package var isTreeBlock: Bool {
    switch self {
    case .treeBlock: true
    case .data: false
    }
  }
}

/// References of one identity that come (positive) or go (negative).
struct ReferenceChange: Hashable, Sendable {
  var identity: ReferenceIdentity
  var count: Int64

  /// The order in which the changes of one extent are applied: what comes before what goes,
  /// so that a count never falls to zero in between; then as they stand in the item, so that
  /// the same changes always make the same bytes.
  static func isApplied(_ a: ReferenceChange, before b: ReferenceChange) -> Bool {
    if (a.count > 0) != (b.count > 0) { return a.count > 0 }
    let types = (a.identity.itemType, b.identity.itemType)
    if types.0 != types.1 { return types.0 < types.1 }
    let sequences = (a.identity.sequence, b.identity.sequence)
    if sequences.0 != sequences.1 { return sequences.0 > sequences.1 }
    guard case .data(let rootA, let inodeA, let offsetA) = a.identity,
      case .data(let rootB, let inodeB, let offsetB) = b.identity
    else { return false }
    return (rootA.rawValue, inodeA.rawValue, offsetA)
      < (rootB.rawValue, inodeB.rawValue, offsetB)
  }
}
