extension ExtentItemRecord {
  /// Below this size of the item a new reference still goes into it, on nodes whose leaves
  /// hold `leafCapacity` bytes: a sixteenth of it, the item's header included.
  static func inlineLimit(leafCapacity: Int) -> Int {
    leafCapacity / 16 - Format.itemHeaderSize
  }

  /// How many references of `identity` stand in the item.
  func inlineCount(of identity: ReferenceIdentity) -> UInt32 {
    index(of: identity).map { inlineReferences[$0].count } ?? 0
  }

  /// Counts `change` in. Says whether its references stand in the item; false means that the
  /// caller has to change, add or remove the keyed item of that identity as well.
  ///
  /// A reference that the item does not have yet goes inline while the item stays below
  /// `inlineLimit` and no reference is keyed.
  mutating func apply(
    _ change: ReferenceChange, inlineLimit: Int
  ) throws(FilesystemError) -> Bool {
    guard change.identity.isData != isTreeBlock else {
      throw .corrupt("a reference of the wrong kind for its extent")
    }
    if change.count > 0 { return try add(change.identity, change.count, inlineLimit) }
    return try drop(change.identity, change.count.magnitude)
  }

  private mutating func add(
    _ identity: ReferenceIdentity, _ count: Int64, _ inlineLimit: Int
  ) throws(FilesystemError) -> Bool {
    guard let added = UInt32(exactly: count), identity.isData || added == 1 else {
      throw .corrupt("\(count) references to an extent by \(identity)")
    }
    let (sum, overflow) = references.addingReportingOverflow(UInt64(added))
    guard !overflow else { throw .corrupt("an extent has too many references") }

    if let index = index(of: identity) {
      let (count, overflow) = inlineReferences[index].count.addingReportingOverflow(added)
      guard identity.isData, !overflow else {
        throw .corrupt("an extent is referenced once too often by \(identity)")
      }
      inlineReferences[index].count = count
      references = sum
      return true
    }

    let goesInline = keyedCount == 0 && encodedSize + identity.inlineSize < inlineLimit
    references = sum
    guard goesInline else { return false }

    let sequence = identity.sequence
    let type = identity.itemType
    let position =
      inlineReferences.firstIndex { other in
        let otherType = other.identity.itemType
        return otherType > type || (otherType == type && other.sequence < sequence)
      } ?? inlineReferences.count
    inlineReferences.insert(
      InlineReference(identity: identity, sequence: sequence, count: added), at: position)
    return true
  }

  private mutating func drop(
    _ identity: ReferenceIdentity, _ count: UInt64
  ) throws(FilesystemError) -> Bool {
    guard let index = index(of: identity) else {
      guard count <= keyedCount else {
        throw .corrupt("an extent has no reference by \(identity)")
      }
      references -= count
      return false
    }

    guard count <= UInt64(inlineReferences[index].count) else {
      throw .corrupt("an extent has fewer than \(count) references by \(identity)")
    }
    references -= count
    inlineReferences[index].count -= UInt32(count)
    if inlineReferences[index].count == 0 { inlineReferences.remove(at: index) }
    return true
  }

  private func index(of identity: ReferenceIdentity) -> Int? {
    inlineReferences.firstIndex { $0.identity == identity }
  }
}
