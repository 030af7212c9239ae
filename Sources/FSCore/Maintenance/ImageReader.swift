/// Reads an image without mounting it, as far as damage allows. For the inspection commands.
///
/// 1. Nothing is ever written.
/// 2. Memory is bounded whatever the image says.
/// 3. What cannot be read is noted in `problems` and skipped; only what makes all else
///    impossible (no superblock, the root of the tree in question) is thrown.
///
/// Belongs to one thread.
package final class ImageReader {
  package let device: LogicalDevice
  package let superblock: Superblock
  package let geometry: Geometry
  let remarks = Remarks()
  private let blocks: BlockWalk

  package var problems: [String] { remarks.kept }
  package var problemCount: Int { remarks.count }

  package var chunks: [Chunk] { device.chunks.all }

  package init(device: any BlockDevice) throws(FilesystemError) {
    let opening = try ImageOpening(device, remarks: remarks)
    self.device = opening.device
    superblock = opening.superblock
    geometry = opening.geometry
    blocks = opening.walk
  }

  package func note(_ problem: String) { remarks.add(problem) }

  /// `BlockWalk.walk`: damage is noted and left out.
  package func walk(
    _ root: BlockPointer, from: Key = .zero, through: Key = .maximum,
    _ visit: (Key, RawSpan) throws(FilesystemError) -> Bool
  ) throws(FilesystemError) {
    try blocks.walk(root, from: from, through: through, visit)
  }

  /// `BlockWalk.walkItemByItem`.
  package func walkItemByItem(
    _ root: BlockPointer, from: Key = .zero, through: Key = .maximum,
    _ visit: (Key, RawSpan, StaticString?) throws(FilesystemError) -> Bool
  ) throws(FilesystemError) {
    try blocks.walkItemByItem(root, from: from, through: through, visit)
  }

  /// `BlockWalk.walkBlocks`.
  package func walkBlocks(
    _ root: BlockPointer, from: Key = .zero, through: Key = .maximum,
    _ visit: (BlockPointer, UnsafeRawBufferPointer) throws(FilesystemError) -> Bool
  ) throws(FilesystemError) {
    try blocks.walkBlocks(root, from: from, through: through, visit)
  }

  /// `BlockWalk.forEachItem`.
  package func forEachItem(
    of leaf: UnsafeRawBufferPointer,
    _ visit: (Key, RawSpan) throws(FilesystemError) -> Bool
  ) throws(FilesystemError) -> Bool {
    try blocks.forEachItem(of: leaf, visit)
  }

  package var rootOfChunkTree: BlockPointer { superblock.rootOfChunkTree }
  package var rootOfRootTree: BlockPointer { superblock.rootOfRootTree }

  /// The root block of any tree. Throws `.notFound` when the root tree does not know it.
  package func root(of tree: TreeID) throws(FilesystemError) -> BlockPointer {
    guard tree.kind.hasRootItem else {
      if tree == .root { return rootOfRootTree }
      if tree == .chunk { return rootOfChunkTree }
      guard let log = superblock.rootOfLog else { throw .notFound }
      return log
    }
    var found: RootItem?
    let id = tree.objectID
    try walk(
      rootOfRootTree, from: Key(id, .rootItem, 0), through: Key(id, .rootItem, .max)
    ) { (_, bytes) throws(FilesystemError) in
      found = try RootItem(bytes)
      return true
    }
    guard let found else { throw .notFound }
    return BlockPointer(
      tree: tree, address: found.address, level: found.level, generation: found.generation)
  }
}
