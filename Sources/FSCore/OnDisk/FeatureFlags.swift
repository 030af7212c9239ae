/// `incompat_flags` of the superblock: an unknown one forbids reading.
package struct IncompatibleFeatures: OptionSet, Sendable {
  package let rawValue: UInt64
  package init(rawValue: UInt64) { self.rawValue = rawValue }

  package static let mixedBackref = Self(rawValue: 1 << 0)
  package static let defaultSubvolume = Self(rawValue: 1 << 1)
  package static let mixedGroups = Self(rawValue: 1 << 2)
  package static let compressLZO = Self(rawValue: 1 << 3)
  package static let compressZSTD = Self(rawValue: 1 << 4)
  package static let bigMetadata = Self(rawValue: 1 << 5)
  package static let extendedInodeRef = Self(rawValue: 1 << 6)
  package static let raid56 = Self(rawValue: 1 << 7)
  package static let skinnyMetadata = Self(rawValue: 1 << 8)
  package static let noHoles = Self(rawValue: 1 << 9)
  package static let metadataUUID = Self(rawValue: 1 << 10)
  package static let raid1c34 = Self(rawValue: 1 << 11)

  /// What this implementation reads.
  package static let known: Self = [
    .mixedBackref, .defaultSubvolume, .mixedGroups, .compressLZO, .compressZSTD, .bigMetadata,
    .extendedInodeRef, .skinnyMetadata, .noHoles, .metadataUUID,
  ]

  package static let names: [(bit: UInt64, name: String)] = [
    (0, "MIXED_BACKREF"), (1, "DEFAULT_SUBVOL"), (2, "MIXED_GROUPS"), (3, "COMPRESS_LZO"),
    (4, "COMPRESS_ZSTD"), (5, "BIG_METADATA"), (6, "EXTENDED_IREF"), (7, "RAID56"),
    (8, "SKINNY_METADATA"), (9, "NO_HOLES"), (10, "METADATA_UUID"), (11, "RAID1C34"),
    (12, "ZONED"), (13, "EXTENT_TREE_V2"), (14, "RAID_STRIPE_TREE"), (16, "SIMPLE_QUOTA"),
  ]
}

/// `compat_ro_flags` of the superblock: an unknown one forbids writing.
package struct ReadOnlyCompatibleFeatures: OptionSet, Sendable {
  package let rawValue: UInt64
  package init(rawValue: UInt64) { self.rawValue = rawValue }

  package static let freeSpaceTree = Self(rawValue: 1 << 0)
  package static let freeSpaceTreeValid = Self(rawValue: 1 << 1)
  package static let verity = Self(rawValue: 1 << 2)
  package static let blockGroupTree = Self(rawValue: 1 << 3)

  /// What this implementation keeps up when it writes.
  package static let known: Self = [.freeSpaceTree, .freeSpaceTreeValid, .blockGroupTree]

  package static let names: [(bit: UInt64, name: String)] = [
    (0, "FREE_SPACE_TREE"), (1, "FREE_SPACE_TREE_VALID"), (2, "VERITY"), (3, "BLOCK_GROUP_TREE"),
  ]
}

/// `flags` of the superblock: an unknown one forbids reading.
package struct SuperblockFlags: OptionSet, Sendable {
  package let rawValue: UInt64
  package init(rawValue: UInt64) { self.rawValue = rawValue }

  package static let written = Self(rawValue: 1 << 0)
  package static let relocating = Self(rawValue: 1 << 1)
  /// Something went wrong that only a checker can put right: Linux mounts, and writes nothing.
  package static let error = Self(rawValue: 1 << 2)
  package static let seeding = Self(rawValue: 1 << 32)
  /// Restored from a dump of the metadata alone, so that the content of files is not there. Linux
  /// takes no notice of it.
  package static let metadataDump = Self(rawValue: 1 << 33)
  package static let metadataDumpV2 = Self(rawValue: 1 << 34)

  package static let known: Self = [
    .written, .relocating, .error, .seeding, .metadataDump, .metadataDumpV2,
  ]

  package static let names: [(bit: UInt64, name: String)] = [
    (0, "WRITTEN"), (1, "RELOC"), (2, "ERROR"), (32, "SEEDING"), (33, "METADUMP"),
    (34, "METADUMP_V2"),
  ]
}

/// The type of a chunk and its block group: what it holds and how it is replicated.
package struct BlockGroupFlags: OptionSet, Hashable, Sendable {
  package let rawValue: UInt64
  package init(rawValue: UInt64) { self.rawValue = rawValue }

  package static let data = Self(rawValue: 1)
  package static let system = Self(rawValue: 2)
  package static let metadata = Self(rawValue: 4)
  package static let raid0 = Self(rawValue: 0x8)
  package static let raid1 = Self(rawValue: 0x10)
  package static let dup = Self(rawValue: 0x20)
  package static let raid10 = Self(rawValue: 0x40)
  package static let raid5 = Self(rawValue: 0x80)
  package static let raid6 = Self(rawValue: 0x100)
  package static let raid1c3 = Self(rawValue: 0x200)
  package static let raid1c4 = Self(rawValue: 0x400)

  package static let types: Self = [.data, .system, .metadata]
  package static let profiles: Self = [
    .raid0, .raid1, .dup, .raid10, .raid5, .raid6, .raid1c3, .raid1c4,
  ]

  /// The profiles of which every stripe is a whole copy.
  package static let mirrors: Self = [.dup, .raid1, .raid1c3, .raid1c4]

  /// How many copies there are of each byte, on all devices.
  package var copies: Int {
    if contains(.raid1c4) { return 4 }
    if contains(.raid1c3) { return 3 }
    return isDisjoint(with: [.dup, .raid1, .raid10]) ? 1 : 2
  }

  package var typeName: String {
    switch intersection(.types) {
    case [.data, .metadata]: "mixed"
    case .data: "data"
    case .metadata: "metadata"
    case .system: "system"
    default: "unknown"
    }
  }

  package var profileName: String {
    let names: [(Self, String)] = [
      (.raid0, "RAID0"), (.raid1, "RAID1"), (.dup, "DUP"), (.raid10, "RAID10"), (.raid5, "RAID5"),
      (.raid6, "RAID6"), (.raid1c3, "RAID1C3"), (.raid1c4, "RAID1C4"),
    ]
    return names.first { contains($0.0) }?.1 ?? "single"
  }
}
