/// What is fixed for the life of a file system.
package struct Geometry: Sendable {
  package let nodeSize: UInt64
  package let sectorSize: UInt64
  package let checksumType: ChecksumType
  /// The fsid that tree blocks carry.
  package let fsid: UUIDBytes
  package let chunkTreeUUID: UUIDBytes
  package let features: IncompatibleFeatures

  package init(
    nodeSize: UInt64, sectorSize: UInt64, checksumType: ChecksumType, fsid: UUIDBytes,
    chunkTreeUUID: UUIDBytes, features: IncompatibleFeatures
  ) {
    self.nodeSize = nodeSize
    self.sectorSize = sectorSize
    self.checksumType = checksumType
    self.fsid = fsid
    self.chunkTreeUUID = chunkTreeUUID
    self.features = features
  }

  package var nodeBytes: Int { Int(nodeSize) }
  package var sectorBytes: Int { Int(sectorSize) }

  /// The whole sectors that have bytes of `range`. Its end is no larger than a file can be.
  package func sectors(around range: Range<UInt64>) -> Range<UInt64> {
    range.lowerBound.roundedDown(to: sectorSize)..<range.upperBound.roundedUp(to: sectorSize)
  }

  /// Bytes of a leaf for item headers and item data together.
  package var leafCapacity: Int { nodeBytes - Format.headerSize }

  /// The largest item that a leaf holds.
  package var maximumItemSize: Int { leafCapacity - Format.itemHeaderSize }

  /// Children that a node holds.
  package var nodeCapacity: Int { leafCapacity / Format.keyPointerSize }

  package var hasNoHoles: Bool { features.contains(.noHoles) }
  package var hasSkinnyMetadata: Bool { features.contains(.skinnyMetadata) }
  package var isMixed: Bool { features.contains(.mixedGroups) }
}
