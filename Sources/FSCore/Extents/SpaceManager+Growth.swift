import FreeSpace
import Glibc
import Logging

/// Making more space allocatable: loading groups, making chunks.
extension SpaceManager {
  /// Loads a group's free space, or waits for whoever does. Afterwards it is loaded or damaged.
  ///
  /// Does IO and reads the root and the extent tree: never called with a tree's lock held, nor
  /// inside a commit's critical section.
  package func load(_ group: BlockGroup) {
    guard group.beginLoading() else {
      group.waitUntilLoaded()
      return
    }
    do throws(FilesystemError) {
      switch try freeSpaceLoader?.freeSpace(of: group) {
      case .found(let index):
        if group.publish(index) { return }
        log.warning("block group \(group.start): its recorded free space has a wrong sum")
        freeSpaceLoader?.distrust(group)
      case .wrong: freeSpaceLoader?.distrust(group)
      case .unknown, nil: break
      }
      let scan = ExtentTreeScan(extentTree: trees.extent, geometry: geometry)
      for attempt in 0..<12 {
        // A sum that is wrong because an extent was half freed is right a moment later.
        if attempt > 0 { usleep(UInt32(100) << UInt32(attempt)) }
        if group.publish(try scan.freeSpace(of: group)) { return }
      }
      log.error("block group \(group.start): its extents are not the \(group.used) bytes it says")
    } catch {
      log.error("block group \(group.start): its free space cannot be found: \(error)")
    }
    group.markDamaged()
  }

  /// Makes more of the class's space allocatable: loads a group or makes a chunk. False when
  /// neither is possible.
  func grow(_ members: BlockGroupClass) -> Bool {
    let candidates = members.groups.filter { $0.loading == .unloaded }
    let fullest = candidates.max { $0.unloadedFree < $1.unloadedFree }
    if let fullest, fullest.unloadedFree > 0 {
      load(fullest)
      return true
    }
    return makeChunk(in: members) != nil
  }

  /// Makes a chunk of the class and its block group, in memory: `ChunkItems` tells the
  /// trees. Nil when the device has no room. Takes only locks from `spaceManager` up.
  @discardableResult
  func makeChunk(in members: BlockGroupClass) -> BlockGroup? {
    // The chunk's own item needs a block of the chunk tree, whose space cannot be found later.
    if members !== system, systemSpaceIsLow { _ = makeChunk(in: system) }
    if members === system, systemArrayIsFull { return nil }

    let flags = members.types.union(members.profile)
    guard let chunk = chunkAllocator.makeChunk(flags) else { return nil }
    do throws(FilesystemError) {
      try chunks.add(chunk)
      let group = try BlockGroup(
        chunk: chunk, used: 0, isNew: true, notesChanges: notesChanges,
        sectorSize: geometry.sectorSize, counters: members.counters)
      registry.withLock { registry in
        // Chunks come in ascending order, but two threads may arrive here in either.
        let index = registry.groups.lastIndex { $0.start < group.start }.map { $0 + 1 } ?? 0
        registry.groups.insert(group, at: index)
        registry.new.append(NewGroup(group: group, chunk: chunk))
      }
      members.append(group)
      group.publishEmpty()
      log.info("new \(flags.typeName) chunk at \(chunk.start), \(chunk.length) bytes")
      return group
    } catch {
      fail(error)
      return nil
    }
  }

  /// Whether the chunk tree could not be changed a few times over.
  private var systemSpaceIsLow: Bool {
    system.counters.withLock { $0.free + $0.unloaded } < 24 * geometry.nodeSize
  }

  /// Whether the superblock's array of system chunks has no room for one more.
  private var systemArrayIsFull: Bool {
    let entries = systemChunks.map { Key.size + $0.item.size }
    let copies = system.profile.copies
    let next = Key.size + ChunkItem.fixedSize + copies * ChunkItem.stripeSize
    let new = registry.withLock { $0.new.filter { $0.group.flags.contains(.system) }.count }
    return entries.reduce(0, +) + (new + 1) * next > Format.systemChunkArraySize
  }
}

extension BlockGroup {
  /// What loading the group would make allocatable.
  var unloadedFree: UInt64 {
    state.withLock { state in
      state.loading == .unloaded
        ? length - superblockBytes - state.used - state.pinned.bytes : 0
    }
  }
}
