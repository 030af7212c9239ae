/// What the trees of an empty file system hold: one leaf each, but for a root tree that needs more.
extension MakeFilesystem {
  struct Trees {
    let choices: Choices
    let geometry: Geometry
    let chunks: [Chunk]
    let sizeBytes: UInt64

    /// The trees of the root tree, in the order of their blocks. The chunk tree stands in the
    /// system chunk alone, as nothing else may.
    private let inMetadata: [TreeID]

    /// The leaves below the root tree's root; none when the root is its only leaf. They stand
    /// behind all roots.
    private var rootLeaves: [LeafBuilder] = []
    private var rootLevel: UInt8 { rootLeaves.isEmpty ? 0 : 1 }

    init(_ choices: Choices, chunks: [Chunk], sizeBytes: UInt64) {
      self.choices = choices
      self.geometry = choices.geometry()
      self.chunks = chunks
      self.sizeBytes = sizeBytes
      var trees: [TreeID] = [
        .root, .extent, .device, .topLevel, .checksum, .uuid, .dataRelocation,
      ]
      if choices.hasFreeSpaceTree { trees.append(.freeSpace) }
      if choices.hasBlockGroupTree { trees.append(.blockGroup) }
      inMetadata = trees
      let leaves = rootTree().leaves(capacity: geometry.leafCapacity)
      if leaves.count > 1 { rootLeaves = leaves }
    }

    private func chunk(_ type: BlockGroupFlags) -> Chunk {
      guard let chunk = chunks.first(where: { $0.item.flags.contains(type) }) else {
        preconditionFailure("a layout without a chunk for \(type.typeName)")
      }
      return chunk
    }

    private func address(of tree: TreeID) -> LogicalAddress {
      guard tree != .chunk else { return chunk(.system).start }
      let index = inMetadata.firstIndex(of: tree) ?? 0
      return chunk(.metadata).start + UInt64(index) * geometry.nodeSize
    }

    private func address(ofRootLeaf index: Int) -> LogicalAddress {
      chunk(.metadata).start + UInt64(inMetadata.count + index) * geometry.nodeSize
    }

    private func rootNode() -> NodeBuilder {
      NodeBuilder(
        owner: .root,
        children: rootLeaves.enumerated().map { index, leaf in
          KeyPointer(
            key: leaf.firstKey, address: address(ofRootLeaf: index), generation: generation)
        })
    }

    /// All blocks with the chunks that they stand in.
    func blocks() -> [(address: LogicalAddress, chunk: Chunk, buffer: AlignedBuffer)] {
      var leaves = [
        chunkTree(), extentTree(), deviceTree(), checksumTree(), uuidTree(),
        directoryTree(.topLevel), directoryTree(.dataRelocation),
      ]
      if rootLeaves.isEmpty { leaves.append(rootTree()) }
      if choices.hasFreeSpaceTree { leaves.append(freeSpaceTree()) }
      if choices.hasBlockGroupTree { leaves.append(blockGroupTree()) }
      var blocks = leaves.map { leaf in
        let address = address(of: leaf.owner)
        return (
          address, chunk(leaf.owner == .chunk ? .system : .metadata),
          leaf.block(at: address, geometry: geometry, generation: generation)
        )
      }
      guard !rootLeaves.isEmpty else { return blocks }
      let root = address(of: .root)
      blocks.append(
        (
          root, chunk(.metadata),
          rootNode().block(at: root, geometry: geometry, generation: generation)
        ))
      for (index, leaf) in rootLeaves.enumerated() {
        let address = address(ofRootLeaf: index)
        blocks.append(
          (
            address, chunk(.metadata),
            leaf.block(at: address, geometry: geometry, generation: generation)
          ))
      }
      return blocks
    }

    private func chunkTree() -> LeafBuilder {
      var leaf = LeafBuilder(owner: .chunk)
      let device = deviceItem()
      leaf.add(Key(.devItems, .devItem, device.deviceID.rawValue), size: DeviceItem.size) {
        device.encode(into: $0)
      }
      for chunk in chunks {
        let key = Key(.firstChunkTree, .chunkItem, chunk.start.rawValue)
        leaf.add(key, size: chunk.item.size) { chunk.item.encode(into: $0) }
      }
      return leaf
    }

    private func deviceItem() -> DeviceItem {
      let used = chunks.reduce(0) { $0 + $1.length * UInt64($1.item.stripes.count) }
      return DeviceItem(
        deviceID: 1, totalBytes: sizeBytes, bytesUsed: used,
        sectorSize: UInt32(geometry.sectorSize), uuid: choices.identities.device,
        fsid: geometry.fsid)
    }

    private func deviceTree() -> LeafBuilder {
      var leaf = LeafBuilder(owner: .device)
      for chunk in chunks {
        let item = DeviceExtent(
          chunkOffset: chunk.start, length: chunk.length,
          chunkTreeUUID: geometry.chunkTreeUUID)
        for stripe in chunk.item.stripes {
          let key = Key(stripe.deviceID.objectID, .devExtent, stripe.offset.rawValue)
          leaf.add(key, size: DeviceExtent.size) { item.encode(into: $0) }
        }
      }
      return leaf
    }

    private func extentTree() -> LeafBuilder {
      var leaf = LeafBuilder(owner: .extent)
      for tree in inMetadata + [.chunk] {
        add(tree, address(of: tree), level: tree == .root ? rootLevel : 0, to: &leaf)
      }
      for index in rootLeaves.indices {
        add(.root, address(ofRootLeaf: index), level: 0, to: &leaf)
      }
      if !choices.hasBlockGroupTree { addBlockGroups(to: &leaf) }
      return leaf
    }

    /// A METADATA_ITEM, with the reference from its tree inside.
    private func add(
      _ tree: TreeID, _ address: LogicalAddress, level: UInt8, to leaf: inout LeafBuilder
    ) {
      leaf.add(Key(ObjectID(address.rawValue), .metadataItem, UInt64(level)), size: 33) {
        $0.store(UInt64(1), at: 0)
        $0.store(generation.rawValue, at: 8)
        $0.store(UInt64(2), at: 16)
        $0.store(ItemType.treeBlockRef.rawValue, at: 24)
        $0.store(tree.rawValue, at: 25)
      }
    }

    private func blockGroupTree() -> LeafBuilder {
      var leaf = LeafBuilder(owner: .blockGroup)
      addBlockGroups(to: &leaf)
      return leaf
    }

    private func addBlockGroups(to leaf: inout LeafBuilder) {
      for chunk in chunks {
        let item = BlockGroupItem(used: used(of: chunk), flags: chunk.item.flags)
        let key = Key(ObjectID(chunk.start.rawValue), .blockGroupItem, chunk.length)
        leaf.add(key, size: BlockGroupItem.size) { item.encode(into: $0) }
      }
    }

    /// What is used of a chunk stands at its beginning.
    private func freeSpaceTree() -> LeafBuilder {
      var leaf = LeafBuilder(owner: .freeSpace)
      for chunk in chunks {
        let group = FreeSpaceTreeLayout(
          start: chunk.start.rawValue, length: chunk.length, sectorSize: geometry.sectorSize)
        let info = FreeSpaceInfo(extentCount: 1, usesBitmaps: false)
        leaf.add(group.infoKey, size: FreeSpaceInfo.size) { info.encode(into: $0) }
        leaf.add(group.extentKey(group.start + used(of: chunk)..<group.end), size: 0) { _ in }
      }
      return leaf
    }

    private func used(of chunk: Chunk) -> UInt64 {
      if chunk.item.flags.contains(.system) { return geometry.nodeSize }
      let holdsTrees = chunk.item.flags.contains(.metadata)
      return holdsTrees ? UInt64(inMetadata.count + rootLeaves.count) * geometry.nodeSize : 0
    }

    private func rootTree() -> LeafBuilder {
      var leaf = LeafBuilder(owner: .root)
      for tree in inMetadata where tree != .root {
        let item = rootItem(of: tree)
        leaf.add(Key(tree.objectID, .rootItem, 0), size: RootItem.size) { item.encode(into: $0) }
      }

      // The directory that says which subvolume is the default one.
      let directory = ObjectID.rootTreeDirectory
      addDirectory(directory, to: &leaf)
      let name = Array("default".utf8)
      let entry = DirectoryEntry(
        location: Key(TreeID.topLevel.objectID, .rootItem, .max), transactionID: generation,
        type: .directory, name: name)
      leaf.add(Key(directory, .dirItem, FormatHash.name(name)), size: entry.size) {
        entry.encode(into: $0)
      }
      addReference(of: TreeID.topLevel.objectID, in: directory, name: name, to: &leaf)
      return leaf
    }

    private func rootItem(of tree: TreeID) -> RootItem {
      var item = RootItem(
        address: address(of: tree), level: 0, generation: generation,
        nodeSize: geometry.nodeSize)
      if tree == .topLevel || tree == .dataRelocation { item.rootDirectory = .firstFree }
      if tree == .topLevel {
        item.uuid = choices.identities.topLevel
        item.creationTransaction = generation
        item.creationTime = choices.now
        item.lastChange = generation
        item.changeTime = choices.now
      }
      return item
    }

    /// A tree with an empty root directory.
    private func directoryTree(_ tree: TreeID) -> LeafBuilder {
      var leaf = LeafBuilder(owner: tree)
      addDirectory(.firstFree, to: &leaf)
      return leaf
    }

    private func addDirectory(_ number: ObjectID, to leaf: inout LeafBuilder) {
      let inode = InodeItem(
        generation: generation, mode: 0o040755, uid: 0, gid: 0, now: choices.now)
      leaf.add(Key(number, .inodeItem, 0), size: InodeItem.size) { inode.encode(into: $0) }
      addReference(of: number, in: number, name: Array("..".utf8), to: &leaf)
    }

    private func addReference(
      of number: ObjectID, in directory: ObjectID, name: [UInt8], to leaf: inout LeafBuilder
    ) {
      let key = Key(number, .inodeRef, directory.rawValue)
      leaf.add(key, size: 10 + name.count) {
        $0.store(UInt16(name.count), at: 8)
        $0.store(name, at: 10)
      }
    }

    private func checksumTree() -> LeafBuilder { LeafBuilder(owner: .checksum) }

    private func uuidTree() -> LeafBuilder {
      var leaf = LeafBuilder(owner: .uuid)
      let uuid = choices.identities.topLevel.rawValue
      let key = Key(
        ObjectID(UInt64(truncatingIfNeeded: uuid)), .uuidSubvolume,
        UInt64(truncatingIfNeeded: uuid >> 64))
      leaf.add(key, size: 8) { $0.store(TreeID.topLevel.rawValue, at: 0) }
      return leaf
    }

    func superblock() throws(FilesystemError) -> Superblock {
      var superblock = Superblock()
      superblock.fsid = geometry.fsid
      superblock.generation = generation
      superblock.root = address(of: .root)
      superblock.rootLevel = rootLevel
      superblock.chunkRoot = address(of: .chunk)
      superblock.chunkRootGeneration = generation
      superblock.totalBytes = sizeBytes
      superblock.bytesUsed = chunks.reduce(0) { $0 + used(of: $1) }
      superblock.rootDirectory = ObjectID.rootTreeDirectory.rawValue
      superblock.deviceCount = 1
      superblock.sectorSize = UInt32(geometry.sectorSize)
      superblock.nodeSize = UInt32(geometry.nodeSize)
      superblock.leafSize = UInt32(geometry.nodeSize)
      superblock.stripeSize = UInt32(geometry.sectorSize)
      superblock.features = geometry.features
      superblock.checksumTypeNumber = geometry.checksumType.rawValue
      superblock.setDeviceItem(deviceItem())
      superblock.setLabel(choices.label)
      try superblock.setSystemChunks([(chunk(.system).start, chunk(.system).item)])
      if choices.hasFreeSpaceTree {
        superblock.readOnlyFeatures = [.freeSpaceTree, .freeSpaceTreeValid]
        superblock.cacheGeneration = 0
      } else {
        // The v1 cache is in use, and no group has one yet.
        superblock.cacheGeneration = .max
      }
      if choices.hasBlockGroupTree { superblock.readOnlyFeatures.insert(.blockGroupTree) }
      superblock.uuidTreeGeneration = generation.rawValue

      let order: [TreeID] = [.root, .chunk, .extent, .topLevel, .device, .checksum]
      superblock.rotateBackup(
        order.map {
          Superblock.BackupTree(
            address: address(of: $0), generation: generation, level: $0 == .root ? rootLevel : 0)
        })
      return superblock
    }
  }
}
