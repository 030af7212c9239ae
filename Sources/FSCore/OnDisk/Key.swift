/// The type of an item: the middle part of its key.
package struct ItemType: RawRepresentable, Hashable, Comparable, Sendable {
  package let rawValue: UInt8
  @inline(__always) package init(rawValue: UInt8) { self.rawValue = rawValue }
  @inline(__always) package init(_ rawValue: UInt8) { self.rawValue = rawValue }
  @inline(__always)
  package static func < (a: ItemType, b: ItemType) -> Bool { a.rawValue < b.rawValue }

  /// The header of a v1 free space cache, under object id −11.
  package static let untyped = ItemType(0)
  package static let inodeItem = ItemType(1)
  package static let inodeRef = ItemType(12)
  package static let inodeExtref = ItemType(13)
  package static let xattrItem = ItemType(24)
  package static let orphanItem = ItemType(48)
  package static let dirItem = ItemType(84)
  package static let dirIndex = ItemType(96)
  package static let extentData = ItemType(108)
  package static let extentCsum = ItemType(128)
  package static let rootItem = ItemType(132)
  package static let rootBackref = ItemType(144)
  package static let rootRef = ItemType(156)
  package static let extentItem = ItemType(168)
  package static let metadataItem = ItemType(169)
  package static let treeBlockRef = ItemType(176)
  package static let extentDataRef = ItemType(178)
  package static let sharedBlockRef = ItemType(182)
  package static let sharedDataRef = ItemType(184)
  package static let blockGroupItem = ItemType(192)
  package static let freeSpaceInfo = ItemType(198)
  package static let freeSpaceExtent = ItemType(199)
  package static let freeSpaceBitmap = ItemType(200)
  package static let devExtent = ItemType(204)
  package static let devItem = ItemType(216)
  package static let chunkItem = ItemType(228)
  package static let quotaGroupStatus = ItemType(240)
  package static let temporaryItem = ItemType(248)
  package static let uuidSubvolume = ItemType(251)
  package static let uuidReceived = ItemType(252)
}

/// What items are sorted by: object id, then type, then offset, all unsigned. 17 bytes on disk.
package struct Key: Hashable, Comparable, Sendable, CustomStringConvertible {
  package var objectID: ObjectID
  package var type: ItemType
  package var offset: UInt64

  package static let size = 17

  @inline(__always)
  package init(_ objectID: ObjectID, _ type: ItemType, _ offset: UInt64) {
    self.objectID = objectID
    self.type = type
    self.offset = offset
  }

  package static let zero = Key(0, .untyped, 0)
  package static let maximum = Key(ObjectID(UInt64.max), ItemType(UInt8.max), UInt64.max)

  @inline(__always)
  package init(_ bytes: RawSpan, at offset: Int = 0) {
    objectID = ObjectID(rawValue: bytes.u64(offset))
    type = ItemType(bytes.u8(offset + 8))
    self.offset = bytes.u64(offset + 9)
  }

  @inline(__always)
  package init(_ bytes: UnsafeRawBufferPointer, at offset: Int = 0) {
    objectID = ObjectID(rawValue: bytes.u64(offset))
    type = ItemType(bytes.u8(offset + 8))
    self.offset = bytes.u64(offset + 9)
  }

  @inline(__always)
  package func encode(into bytes: UnsafeMutableRawBufferPointer, at offset: Int = 0) {
    bytes.store(objectID.rawValue, at: offset)
    bytes.store(type.rawValue, at: offset + 8)
    bytes.store(self.offset, at: offset + 9)
  }

  @inline(__always)
  package static func < (a: Key, b: Key) -> Bool {
    if a.objectID.rawValue != b.objectID.rawValue {
      return a.objectID.rawValue < b.objectID.rawValue
    }
    if a.type.rawValue != b.type.rawValue { return a.type.rawValue < b.type.rawValue }
    return a.offset < b.offset
  }

  // Numbers, here as above: comparing types of our own takes many times as long where nothing is
  // optimised.
  @inline(__always)
  package static func == (a: Key, b: Key) -> Bool {
    a.objectID.rawValue == b.objectID.rawValue && a.type.rawValue == b.type.rawValue
      && a.offset == b.offset
  }

  /// The key that follows this one in the order; nil after the last.
  package var successor: Key? {
    if offset < .max { return Key(objectID, type, offset + 1) }
    if type.rawValue < .max { return Key(objectID, ItemType(type.rawValue + 1), 0) }
    if objectID.rawValue < .max { return Key(ObjectID(objectID.rawValue + 1), .untyped, 0) }
    return nil
  }

  package var description: String {
    "(\(Int64(bitPattern: objectID.rawValue)) \(type.rawValue) \(offset))"
  }
}
