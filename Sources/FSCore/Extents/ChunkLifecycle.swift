import Logging

/// Chunks that come and go: made in memory when space runs short, and told to the trees by
/// `ChunkItems`; forgotten when the commit that removed them from the trees is durable.
/// Lock rank: `spaceManager`; neither the registry's lock nor a block group's is taken while it is
/// held.
///
/// 1. A chunk exists in memory before the trees know of it; no commit is complete before
///    `ChunkItems` has told them of every chunk that holds an extent of it.
/// 2. A chunk that the running transaction removes stays in the map, and its device space is not
///    used anew, until that is durable: the last commit still has it.
package final class ChunkLifecycle: Sendable {
  struct ChunkAndGroup {
    let group: BlockGroup
    let chunk: Chunk
  }

  private struct State {
    /// Chunks that no tree knows yet, oldest first.
    var new: [ChunkAndGroup] = []
    /// Stripes of chunks that the trees know.
    var deviceBytesUsed: UInt64
    /// The size of the device, as the chunk tree has it.
    var deviceBytes: UInt64
    /// When giving chunks back was tried last and there was no space all the same.
    var lastInVain: (time: ContinuousClock.Instant, used: UInt64)?
    /// Chunks that the trees know no more, in a transaction that is not durable.
    var removed: [(gone: ChunkAndGroup, generation: Generation)] = []
    /// Whether the trees may know other chunks than the superblock's array was last made of.
    var arrayIsStale = true
  }

  let map: ChunkMap
  let groups: BlockGroupRegistry
  let allocator: ChunkAllocator
  private let state: Guarded<State>

  init(
    map: ChunkMap, groups: BlockGroupRegistry, allocator: ChunkAllocator, device: DeviceItem
  ) {
    self.map = map
    self.groups = groups
    self.allocator = allocator
    state = Guarded(
      State(deviceBytesUsed: device.bytesUsed, deviceBytes: device.totalBytes), rank: .spaceManager)
  }

  /// Makes a chunk of the class and its block group, in memory: `ChunkItems` tells the
  /// trees. Nil when the device has no room. Takes only locks from `spaceManager` up.
  @discardableResult
  func make(in members: BlockGroupClass) -> BlockGroup? {
    let system = groups.system
    // The chunk's own item needs a block of the chunk tree, whose space cannot be found later.
    if members !== system, systemSpaceIsLow { _ = make(in: system) }
    if members === system, systemArrayIsFull { return nil }

    let flags = members.types.union(members.profile)
    guard let chunk = allocator.makeChunk(flags) else { return nil }
    do throws(FilesystemError) {
      try map.add(chunk)
      let group = try groups.add(chunk, used: 0, isNew: true)
      state.withLock { $0.new.append(ChunkAndGroup(group: group, chunk: chunk)) }
      group.publishEmpty()
      groups.log.info("new \(flags.typeName) chunk at \(chunk.start), \(chunk.length) bytes")
      return group
    } catch {
      groups.fail(error)
      return nil
    }
  }

  /// Whether the chunk tree could not be changed a few times over.
  private var systemSpaceIsLow: Bool {
    groups.system.counters.withLock { $0.free + $0.unloaded } < 24 * groups.geometry.nodeSize
  }

  /// Whether the superblock's array of system chunks has no room for one more.
  private var systemArrayIsFull: Bool {
    let entries = systemChunks.map { Key.size + $0.item.size }
    let copies = groups.system.profile.copies
    let next = Key.size + ChunkItem.fixedSize + copies * ChunkItem.stripeSize
    let new = new.filter { $0.group.flags.contains(.system) }.count
    return entries.reduce(0, +) + (new + 1) * next > Format.systemChunkArraySize
  }

  /// The system chunks that the chunk tree knows, for the superblock's array.
  var systemChunks: [(start: LogicalAddress, item: ChunkItem)] {
    let unknown = state.withLock { state in
      Set((state.new + state.removed.map(\.gone)).map(\.group.start))
    }
    // By way of the groups, as there may be very many chunks.
    return groups.system.groups.map(\.start).filter { !unknown.contains($0) }.sorted()
      .compactMap { start in
        (try? map.chunk(containing: start)).map { (start: $0.start, item: $0.item) }
      }
  }

  /// The same when it may have changed since this was called last; else nil.
  func takeChangedSystemChunks() -> [(start: LogicalAddress, item: ChunkItem)]? {
    let isStale = state.withLock { state in
      defer { state.arrayIsStale = false }
      return state.arrayIsStale
    }
    return isStale ? systemChunks : nil
  }

  // What `ChunkItems` does.

  /// Chunks that no tree knows yet.
  var new: [ChunkAndGroup] { state.withLock { $0.new } }

  func takeNew() -> ChunkAndGroup? {
    state.withLock { state in
      if state.new.isEmpty { return nil }
      state.arrayIsStale = true
      return state.new.removeFirst()
    }
  }

  func putBack(_ new: ChunkAndGroup) { state.withLock { $0.new.insert(new, at: 0) } }

  /// Stripes of chunks that the trees know, in bytes.
  var deviceBytesUsed: UInt64 { state.withLock { $0.deviceBytesUsed } }

  /// The size of the device, as the chunk tree has it.
  package var deviceBytes: UInt64 { state.withLock { $0.deviceBytes } }

  /// The chunk tree says another size.
  func didResize(to bytes: UInt64) { state.withLock { $0.deviceBytes = bytes } }

  /// The trees know stripes of `bytes` more; returns the sum.
  func addDeviceBytes(_ bytes: UInt64) -> UInt64 {
    state.withLock { state in
      state.deviceBytesUsed += bytes
      return state.deviceBytesUsed
    }
  }

  /// Whether the trees are to be told of the group's chunk.
  func isNew(_ group: BlockGroup) -> Bool { new.contains { $0.group === group } }

  /// The trees know a chunk no more.
  func didDelete(_ chunk: Chunk, _ group: BlockGroup, in generation: Generation) {
    state.withLock { state in
      state.deviceBytesUsed -= chunk.length * UInt64(chunk.item.stripes.count)
      state.removed.append((ChunkAndGroup(group: group, chunk: chunk), generation))
      state.arrayIsStale = true
    }
  }

  /// Forgets the chunks that transactions up to `generation` have removed: it is durable.
  func finishRemovals(through generation: Generation) {
    let due = state.withLock { state in
      defer { state.removed.removeAll { $0.generation <= generation } }
      return state.removed.filter { $0.generation <= generation }.map(\.gone)
    }
    for gone in due {
      groups.remove(gone.group)
      map.remove(gone.chunk)
      allocator.giveBack(gone.chunk)
      let type = gone.chunk.item.flags.typeName
      groups.log.info("\(type) chunk at \(gone.chunk.start) was empty and is gone")
    }
  }

  /// Whether chunks of other classes may be given back, now or after a commit, so that one of
  /// `members` finds room on the device. Says no for a second after that was no help, unless
  /// something was freed: each write to a full volume would ask.
  func mayGiveBack(for members: BlockGroupClass) -> Bool {
    if let last = state.withLock({ $0.lastInVain }), usedBytes >= last.used,
      last.time.duration(to: .now) < .seconds(1)
    {
      return false
    }
    return groups.classes.contains { other in
      other !== members && other !== groups.system && other.groups.count > 1
        && other.groups.contains { group in
          // A data group may hold nothing but files of the record of free space.
          let most = group.flags.contains(.data) ? group.length / 16 : 0
          return group.used <= most && !group.isReadOnly
        }
    }
  }

  /// There was no space, though all was done that could bring some.
  func noteInVain() {
    let used = usedBytes
    state.withLock { $0.lastInVain = (.now, used) }
  }

  private var usedBytes: UInt64 {
    groups.classes.reduce(0) { sum, members in sum + members.counters.withLock { $0.used } }
  }
}
