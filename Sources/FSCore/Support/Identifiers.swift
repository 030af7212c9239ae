/// A 64-bit number of the format that has a type of its own, so that a logical address
/// cannot be passed for a physical one. All compare as unsigned numbers.
package protocol FormatNumber: RawRepresentable, Hashable, Comparable, Sendable,
  ExpressibleByIntegerLiteral, CustomStringConvertible
where RawValue == UInt64 {
  init(rawValue: UInt64)
}

extension FormatNumber {
  @inline(__always)
  package init(_ rawValue: UInt64) { self.init(rawValue: rawValue) }

  package init(integerLiteral value: UInt64) { self.init(rawValue: value) }

  @inline(__always)
  package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }

  // That of RawRepresentable looks its way up at each call, where nothing is optimised.
  @inline(__always)
  package static func == (a: Self, b: Self) -> Bool { a.rawValue == b.rawValue }

  package var description: String { String(rawValue) }
}

/// An address that a length can be added to.
package protocol ByteAddress: FormatNumber {}

extension ByteAddress {
  /// Traps on overflow: addresses from an image are validated before they are added to.
  @inline(__always)
  package static func + (a: Self, bytes: UInt64) -> Self { Self(rawValue: a.rawValue + bytes) }

  @inline(__always)
  package static func - (a: Self, b: Self) -> UInt64 { a.rawValue - b.rawValue }
}

/// A byte address in the file system's one flat address space.
package struct LogicalAddress: ByteAddress {
  package let rawValue: UInt64
  @inline(__always) package init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// The number of a device in its file system.
package struct DeviceID: FormatNumber {
  package let rawValue: UInt64
  @inline(__always) package init(rawValue: UInt64) { self.rawValue = rawValue }

  package var objectID: ObjectID { ObjectID(rawValue: rawValue) }
}

/// A byte address on one device; which one that is a `DeviceAddress` says.
package struct PhysicalAddress: ByteAddress {
  package let rawValue: UInt64
  @inline(__always) package init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// The number of a transaction; each commit's is one more than the last.
package struct Generation: FormatNumber {
  package let rawValue: UInt64
  @inline(__always) package init(rawValue: UInt64) { self.rawValue = rawValue }
  package var next: Generation { Generation(rawValue: rawValue + 1) }
}

/// The number of an inode, or what else stands first in a key.
package struct ObjectID: FormatNumber {
  package let rawValue: UInt64
  @inline(__always) package init(rawValue: UInt64) { self.rawValue = rawValue }

  /// The root directory of every subvolume, and the first number that is free for inodes.
  package static let firstFree: ObjectID = 256
  package static let lastFree = ObjectID(rawValue: UInt64.max - 255)
  package static let devItems: ObjectID = 1
  /// What Linux shows as the number of every stub (`StubPlaces`).
  package static let emptySubvolume: ObjectID = 2
  /// The numbers of stubs in memory: the last that an inode could have.
  package static let firstStub = ObjectID(rawValue: lastFree.rawValue - (1 << 32 - 1))
  package static let lastStub = lastFree
  /// The last number that a new inode is given.
  package static let lastNew = ObjectID(rawValue: firstStub.rawValue - 1)
  package var isStub: Bool { self >= .firstStub && self <= .lastStub }
  package static let rootTreeDirectory: ObjectID = 6
  package static let firstChunkTree: ObjectID = 256
  package static let balance = ObjectID(rawValue: UInt64(bitPattern: -4))
  package static let orphan = ObjectID(rawValue: UInt64(bitPattern: -5))
  package static let extentChecksum = ObjectID(rawValue: UInt64(bitPattern: -10))
  package static let freeSpace = ObjectID(rawValue: UInt64(bitPattern: -11))
}

/// The number of a tree. Subvolumes are 5 and those from 256 up.
package struct TreeID: FormatNumber {
  package let rawValue: UInt64
  @inline(__always) package init(rawValue: UInt64) { self.rawValue = rawValue }

  package static let root: TreeID = 1
  package static let extent: TreeID = 2
  package static let chunk: TreeID = 3
  package static let device: TreeID = 4
  package static let topLevel: TreeID = 5
  package static let checksum: TreeID = 7
  package static let quota: TreeID = 8
  package static let uuid: TreeID = 9
  package static let freeSpace: TreeID = 10
  package static let blockGroup: TreeID = 11
  package static let log = TreeID(rawValue: UInt64(bitPattern: -6))
  package static let relocation = TreeID(rawValue: UInt64(bitPattern: -8))
  package static let dataRelocation = TreeID(rawValue: UInt64(bitPattern: -9))

  /// Whether this is a subvolume: a tree that holds files and that snapshots may share.
  package var isSubvolume: Bool {
    self == .topLevel || (rawValue >= 256 && rawValue <= UInt64.max - 255)
  }

  package var objectID: ObjectID { ObjectID(rawValue: rawValue) }
}

/// An inode of a subvolume: what an operation names its object by.
package struct InodeID: Hashable, Comparable, Sendable, CustomStringConvertible {
  package var tree: TreeID
  package var number: ObjectID

  package init(tree: TreeID, number: ObjectID) {
    self.tree = tree
    self.number = number
  }

  package static func < (a: InodeID, b: InodeID) -> Bool {
    // Numbers rather than pairs of identifiers, for builds in which nothing is optimised.
    a.tree.rawValue == b.tree.rawValue
      ? a.number.rawValue < b.number.rawValue : a.tree.rawValue < b.tree.rawValue
  }

  package var description: String { "\(tree)/\(number)" }
}

extension UInt64 {
  /// Rounds up to a multiple of `unit`, a power of two. Traps on overflow.
  @inline(__always)
  package func roundedUp(to unit: UInt64) -> UInt64 { (self + (unit - 1)) & ~(unit - 1) }

  @inline(__always)
  package func roundedDown(to unit: UInt64) -> UInt64 { self & ~(unit - 1) }
}
