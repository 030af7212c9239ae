import Logging

/// What a mount begins with: an opened image, the trees and their cache, whether it may be written,
/// and which directory is mounted. Nothing is written, but for copies that are mended at the end.
package struct OpenedImage {
  package let superblock: Superblock
  package let geometry: Geometry
  package let device: LogicalDevice
  package let cache: TreeBlockCache
  package let memory: MemoryBudget
  package let trees: Trees
  package let readOnlyReason: String?
  package let rootDirectory: InodeID

  package init(
    device: any BlockDevice, options: VolumeOptions, log: Logger
  ) throws(FilesystemError) {
    let opening = try ImageOpening(device, log: log)
    superblock = opening.superblock
    geometry = opening.geometry
    self.device = opening.device
    try Self.requireNoLog(superblock, options)

    memory = MemoryBudget(totalBytes: options.cacheBytes)
    cache = TreeBlockCache(
      device: self.device, geometry: geometry, superGeneration: superblock.generation,
      budget: memory, log: log)

    let context = TreeContext(cache: cache)
    let chunkTree = try Tree(
      id: .chunk, address: superblock.chunkRoot, level: superblock.chunkRootLevel,
      generation: superblock.chunkRootGeneration, lastSnapshot: 0, context: context)
    trees = try Trees(
      superblock: superblock, chunk: chunkTree, context: context, memory: memory.trees)
    readOnlyReason = try ReadOnlyRules(
      superblock: superblock, options: options, chunks: opening.device.chunks, trees: trees
    ).firstReason()
    rootDirectory = InodeID(
      tree: try Self.mountedSubvolume(options.subvolume, trees), number: .firstFree)
    if readOnlyReason == nil {
      MirroredReader(device: self.device, log: log).allowRepairs()
    } else {
      self.device.repairs.forbid()
    }
  }

  private static func requireNoLog(
    _ superblock: Superblock, _ options: VolumeOptions
  ) throws(FilesystemError) {
    guard superblock.logRoot.rawValue != 0, !options.noLogReplay else { return }
    throw .cannotMount(
      "the image was not unmounted cleanly by Linux and has a log tree to replay: mount it "
        + "once with Linux, or with -o nologreplay, read-only, as of the last commit")
  }

  /// The subvolume that is to be mounted; its root block can be read.
  private static func mountedSubvolume(
    _ choice: VolumeOptions.SubvolumeChoice, _ trees: Trees
  ) throws(FilesystemError) -> TreeID {
    let id: TreeID =
      switch choice {
      case .imageDefault: try DefaultSubvolume.find(in: trees.root) ?? .topLevel
      case .id(let id): id
      case .path(let path): try subvolume(path, trees)
      }
    do throws(FilesystemError) {
      _ = try trees.subvolume(id)
    } catch .notFound {
      guard choice == .imageDefault else {
        throw .cannotMount("the image has no subvolume \(id); \(listHint)")
      }
      throw .cannotMount(
        "its default subvolume is \(id), which is not there; mount it with -o subvolid=5, the top "
          + "level, and name another one with 'fsmount subvolume set-default'")
    } catch {
      guard error.isDamage else { throw error }
      throw .cannotMount(
        "its subvolume \(id), which is to be mounted, is damaged: \(error); another one can be, with "
          + (id == .topLevel ? "-o ro,subvolid=ID" : "-o subvolid=ID"))
    }
    return id
  }

  private static let listHint = "'fsmount subvolume list IMAGE' tells which there are"

  /// The subvolume at a path from the top-level one.
  private static func subvolume(
    _ path: String, _ trees: Trees
  ) throws(FilesystemError) -> TreeID {
    var tree = TreeID.topLevel
    var directory = ObjectID.firstFree
    for component in path.split(separator: "/") {
      let name = Array(component.utf8)
      let found = try trees.subvolume(tree).find(
        Key(directory, .dirItem, FormatHash.name(name))
      ) { (bytes) throws(FilesystemError) -> Key? in
        try DirectoryEntry.all(in: bytes).first { $0.name == name }?.location
      }
      guard let found, let location = found else {
        throw .cannotMount("the image has no subvolume \(path); \(Self.listHint)")
      }
      if location.type == .rootItem {
        tree = TreeID(location.objectID.rawValue)
        directory = .firstFree
      } else {
        directory = location.objectID
      }
    }
    guard directory == .firstFree else {
      throw .cannotMount("\(path) is not a subvolume; \(listHint)")
    }
    return tree
  }
}
