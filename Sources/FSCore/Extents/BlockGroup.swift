import FreeSpace

/// A block group: one chunk's logical range, and what each byte of it is used for.
/// Lock rank: `blockGroup`; inside it only `leaf` locks are taken.
///
/// 1. Once loaded: `free + pinned + inFlight + used + superblock bytes == length`.
/// 2. Nothing is ever allocated from a group that is not loaded. What is freed there is pinned,
///    and collected in `freedWhileUnloaded` once it is unpinned.
/// 3. A loaded group's index lists exactly what may be written: neither what an extent item of
///    the running or the last durable transaction covers, nor what is in flight or pinned, nor
///    where a superblock copy stands.
/// 4. `changeCount` grows whenever the set of bytes that extent items cover changes.
/// 5. `changes`, where the record of free space wants them, are noted in the same moment.
/// 6. The class's counters change together with the group's state, under the group's lock.
/// 7. Nothing is allocated from a group that is read-only; what is free there counts as unusable.
/// 8. What the class's hints say of the group is what `hint` says, under the group's lock.
/// 9. A group that was let go of is as one that was never loaded, and `usedInSource` is what was used
///    in it when its record was written.
package final class BlockGroup: Sendable {
  package enum Loading: Sendable { case unloaded, loading, loaded, damaged }

  struct State {
    var loading = Loading.unloaded
    /// Not loaded before this moment, as the device failed when it was tried.
    var nextAttempt: ContinuousClock.Instant?
    /// Present once loaded.
    var index: FreeSpaceIndex?
    /// What the BLOCK_GROUP_ITEM will say.
    var used: UInt64
    /// What the BLOCK_GROUP_ITEM in the tree says.
    var writtenUsed: UInt64
    var inFlight: UInt64 = 0
    var pinned: PinnedExtents
    /// Freed and unpinned while the group was not loaded.
    var freedWhileUnloaded: FreeSpaceIndex?
    /// What was used when the record was written from which the group is loaded: at the mount, or
    /// when it was let go of.
    var usedInSource: UInt64
    /// When space was allocated or freed here last, in commits (`FreeSpaceMemory.now`).
    var lastUse: UInt64 = 0
    /// What `memory` was charged for `index` and `freedWhileUnloaded`, in bytes.
    var charged = 0
    var changeCount: UInt64 = 0
    /// Which of the registry's lists of changed groups have this one.
    var lists: News = []
    /// Nil where no record of free space asks for them.
    var changes: SpaceChanges?
    /// Nothing is allocated here: the group is being emptied, or about to be removed.
    var isReadOnly = false
    /// Where the group's class is told what is free; nil while the group is in none.
    var place: (hints: GroupHints, slot: Int)?
  }

  package let start: LogicalAddress
  package let length: UInt64
  package let flags: BlockGroupFlags
  /// Where superblock copies stand; never allocated.
  package let superblockRanges: [(start: LogicalAddress, length: UInt64)]
  package let superblockBytes: UInt64
  package let sectorSize: UInt64
  /// Whether the chunk was made in this mount.
  package let isNew: Bool

  let counters: Guarded<SpaceCounters>
  let memory: FreeSpaceMemory
  let state: Guarded<State>

  /// A group that the extent tree has an item for, not loaded; or a new one, which is to be
  /// published with `publishEmpty` before anybody waits for it.
  init(
    chunk: Chunk, used: UInt64, isNew: Bool = false, notesChanges: Bool = false,
    sectorSize: UInt64, counters: Guarded<SpaceCounters>,
    memory: FreeSpaceMemory = FreeSpaceMemory()
  ) throws(FilesystemError) {
    start = chunk.start
    length = chunk.length
    flags = chunk.item.flags
    superblockRanges = chunk.superblockRanges
    superblockBytes = superblockRanges.reduce(0) { $0 + $1.length }
    self.sectorSize = sectorSize
    self.memory = memory
    self.isNew = isNew
    self.counters = counters
    guard
      FreeSpaceIndex.canDescribe(
        start: start.rawValue, length: length, sectorSize: sectorSize)
    else { throw .corrupt("block group \(start) of \(length) bytes") }
    guard superblockBytes <= length, used <= length - superblockBytes, used % sectorSize == 0 else {
      throw .corrupt("block group \(start) of \(length) bytes has \(used) bytes used")
    }
    state = Guarded(
      State(
        loading: isNew ? .loading : .unloaded, used: used, writtenUsed: used,
        pinned: PinnedExtents(start: start, length: length, sectorSize: sectorSize),
        usedInSource: used),
      rank: .blockGroup)
    if notesChanges { state.withLock { $0.changes = emptyChanges() } }
    let free = length - superblockBytes - used
    let usable = length - superblockBytes
    counters.withLock { counters in
      counters.length += usable
      counters.used += used
      counters.unloaded += free
    }
  }

  package var end: LogicalAddress { start + length }

  func emptyChanges() -> SpaceChanges {
    SpaceChanges(start: start, length: length, sectorSize: sectorSize)
  }

  package func contains(_ address: LogicalAddress, _ count: UInt64) -> Bool {
    address >= start && address < end && count <= end - address
  }

  package var loading: Loading { state.withLock { $0.loading } }
  package var used: UInt64 { state.withLock { $0.used } }

  /// What must be free by the record from which the group is loaded.
  package var freeInSource: UInt64 {
    state.withLock { length - superblockBytes - $0.usedInSource }
  }

  /// What must still be done for the registry's lists. The first three list changed groups, and each
  /// is emptied by another reader.
  struct News: OptionSet {
    let rawValue: UInt8
    /// The group changed for the first time in this transaction.
    static let dirty = News(rawValue: 1)
    /// It changed for the first time since its block group item was looked at.
    static let item = News(rawValue: 2)
    /// It changed for the first time since the record of free space looked at it.
    static let record = News(rawValue: 4)
    /// Something was pinned for the first time in this transaction.
    static let pinned = News(rawValue: 8)

    static let changed: News = [.dirty, .item, .record]
  }
}
