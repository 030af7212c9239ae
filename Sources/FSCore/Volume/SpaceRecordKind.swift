import Logging

/// What keeps free space on a mounted image: what it has, unless the options ask for another.
enum SpaceRecordKind: Equatable {
  case cacheFiles
  case freeSpaceTree
  case nothing

  init(of image: OpenedImage, _ options: VolumeOptions) throws(FilesystemError) {
    let superblock = image.superblock
    let present = Self.present(superblock)
    guard image.readOnlyReason == nil else {
      self = present
      return
    }
    self =
      switch options.spaceCache {
      case .asImage: present
      case .v1: .cacheFiles
      case .v2: .freeSpaceTree
      case .none: .nothing
      }
    if superblock.readOnlyFeatures.contains(.blockGroupTree), self != .freeSpaceTree {
      throw .cannotMount(
        "the image has a block group tree, and Linux mounts such images only with a free space "
          + "tree: neither space_cache=v1 nor nospace_cache is possible")
    }
  }

  private static func present(_ superblock: Superblock) -> SpaceRecordKind {
    // With a block group tree it is needed, even where it is missing.
    if !superblock.readOnlyFeatures.isDisjoint(with: [.freeSpaceTree, .blockGroupTree]) {
      return .freeSpaceTree
    }
    // The owner of an image that says 0 wants none; a new one says 2^64 − 1.
    return superblock.cacheGeneration == 0 ? .nothing : .cacheFiles
  }

  func makeRecord(
    of image: OpenedImage, space: Space, references: DelayedReferences,
    options: VolumeOptions, log: Logger
  ) throws(FilesystemError) -> any FreeSpaceRecord {
    let superblock = image.superblock
    let trees = image.trees
    let isWritable = image.readOnlyReason == nil
    let clear = options.clearCache && isWritable
    switch self {
    case .freeSpaceTree where isWritable:
      return try FreeSpaceTree(
        space: space, trees: trees, references: references, superblock: superblock, clear: clear,
        log: log)
    case .cacheFiles:
      return try CacheFiles(
        space: space, trees: trees, references: references, device: image.device,
        geometry: image.geometry, superblock: superblock, clear: clear, log: log)
    case .nothing, .freeSpaceTree:
      return NoRecord(
        space: space, trees: trees, references: references, superblock: superblock,
        deletesOthers: isWritable && options.spaceCache == .none, log: log)
    }
  }
}
