import FreeSpace
import Logging

extension CacheFiles {
  /// How many entries a new file has room for beyond half as many again as there are: what changes
  /// until it is written needs room. A commit itself frees tree blocks here and there.
  private static let spareDataEntries = 60
  private static let spareMetadataEntries = 240

  /// How long the file of a group's cache is made, in bytes.
  func fileLength(of group: BlockGroup, _ generation: Generation) -> UInt64 {
    let full = CacheLayout.byteCount(forGroupLength: group.length)
    guard !cache(of: group).needsFullFile(generation), let demand = group.cacheDemand else {
      return full
    }
    let page = UInt64(CacheLayout.pageSize)
    let spare =
      group.flags.contains(.metadata) ? Self.spareMetadataEntries : Self.spareDataEntries
    return UInt64(demand.pageCount(spareEntries: spare, atMost: Int(full / page))) * page
  }

  /// Step 1 of a cache's way to the device: an inode with generation 0, whose file is
  /// preallocated anew in one piece. What it had is freed like anything else: pinned, so the
  /// last commit's cache stays whole. Without space the group's state becomes `error`, and no
  /// other group is tried in this transaction. Any error before the first change costs this cache
  /// only. The lock is held.
  ///
  /// - Parameter length: what `fileLength` has said of the group just now, if it was asked.
  func setUp(
    _ group: BlockGroup, length known: UInt64?, _ state: inout State,
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    handle.noteWhole()
    do throws(FilesystemError) {
      let length = known ?? fileLength(of: group, handle.generation)
      let isRefused = hooks.withLock { $0.refusesSetup }?(group.start) == true
      guard !isRefused, let address = space.allocator.allocateRecordFile(length: length) else {
        return refuse(group, &state, handle.generation)
      }
      do throws(FilesystemError) {
        let extent = FileExtentItem(
          generation: handle.generation, kind: .preallocated, diskAddress: address,
          diskLength: length, ramBytes: length, offset: 0, length: length)
        if try !renewFile(of: group, extent, in: handle) {
          let old = try oldFile(of: group, state)
          try makeFile(of: group, old, extent, &state, in: handle)
        }
        outcomes.noteSetUp()
      } catch {
        // Nobody knows of the space as yet.
        if !handle.isHalfDone { space.allocator.abandon(address, length: length) }
        throw error
      }
      if state.isShortOfSpace {
        state.isShortOfSpace = false
        log.notice("there is space for free space caches again")
      }
    } catch {
      if handle.isHalfDone { throw error }
      fail(group, .setup, "\(error)", handle.generation)
    }
    handle.noteWhole()
  }

  /// There is no space for the cache. Told once for all groups and commits until there is again.
  private func refuse(_ group: BlockGroup, _ state: inout State, _ generation: Generation) {
    state.refusedGeneration = generation
    outcomes.note(.noSpace)
    change(group) { $0.didFail(generation) }
    if state.isShortOfSpace { return }
    state.isShortOfSpace = true
    log.warning(
      """
      block group \(group.start): no space to set its free space cache up; block groups that \
      change have none until there is
      """)
  }

  /// What a group's header leads to, before its cache is set up.
  private enum OldFile {
    /// Nothing that can be used.
    case none
    /// A cache of this group.
    case usable(FreeSpaceInode)
    /// Something that is no cache: left as it is, with what it refers to.
    case damaged(FreeSpaceInode, String)
  }

  private func oldFile(
    of group: BlockGroup, _ state: borrowing State
  ) throws(FilesystemError) -> OldFile {
    guard let inode = try FreeSpaceInode.find(of: group.start, in: trees.root) else { return .none }
    if let fault = try inode.fault() { return .damaged(inode, fault) }
    // Two headers that lead to one inode are possible on a damaged image.
    let owner = state.owners[inode.number, default: group.start]
    return owner == group.start ? .usable(inode) : .none
  }

  /// Gives a file that this mount has set up before another extent in place of its only one. False,
  /// with nothing changed, when there is no such file, or another extent is found in it.
  private func renewFile(
    of group: BlockGroup, _ extent: FileExtentItem, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    guard let known = cache(of: group).knownFile else { return false }
    let inode = FreeSpaceInode(group: group.start, number: known.inode, root: trees.root)
    guard try inode.holdsOnly(known) else { return false }
    let generation = handle.generation
    var hasInode = false
    var isRenewed = false
    // Both stand side by side.
    try trees.root.modifyEach(
      2, key: { $0 == 0 ? inode.inodeKey : inode.extentKey(0) }, in: handle
    ) { (number, bytes) throws(FilesystemError) in
      if number == 0, bytes.count == InodeItem.size {
        var item = try InodeItem(UnsafeRawBufferPointer(bytes).bytes)
        item.transactionID = generation
        item.becomeCache(length: extent.length)
        item.encode(into: bytes)
        hasInode = true
      } else if number == 1, hasInode, bytes.count == FileExtentItem.size {
        extent.encode(into: bytes)
        isRenewed = true
      }
    }
    guard hasInode else {
      // A block may have been copied, which changes nothing.
      handle.noteWhole()
      return false
    }
    guard isRenewed else {
      throw .corrupt("free space inode \(inode.number) has lost its extent")
    }
    // The new one is added before the old is dropped.
    refer(to: extent.diskAddress, extent.length, inode, count: 1, in: handle)
    refer(to: known.address, known.length, inode, count: -1, in: handle)
    let file = CacheFileLocation(
      inode: inode.number, address: extent.diskAddress, length: extent.length)
    change(group) { $0.didSetUp(generation, file) }
    return true
  }

  /// Notes that a cache's file refers to an extent from now on, or does no longer.
  private func refer(
    to address: LogicalAddress, _ length: UInt64, _ inode: FreeSpaceInode, count: Int32,
    in handle: borrowing TransactionHandle
  ) {
    references.add(
      address, .data(length: length), .data(root: .root, inode: inode.number, offset: 0),
      count: count, newExtent: count > 0, in: handle)
  }

  /// Makes the file of a group's cache, with `extent` as its only one.
  private func makeFile(
    of group: BlockGroup, _ old: OldFile, _ extent: FileExtentItem, _ state: inout State,
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let root = trees.root
    let inode: FreeSpaceInode
    switch old {
    case .usable(let present):
      inode = present
      try inode.truncate(references, in: handle)
    case .damaged(let present, let fault):
      log.warning(
        "block group \(group.start): its free space cache is given up for a new one: \(fault)")
      let number = try objectIDs.next()
      try present.change(in: handle) { $0.generation = 0 }
      inode = try FreeSpaceInode.create(for: group.start, number: number, in: root, in: handle)
    case .none:
      inode = try FreeSpaceInode.create(
        for: group.start, number: try objectIDs.next(), in: root, in: handle)
    }

    try root.insert(inode.extentKey(0), size: FileExtentItem.size, in: handle) {
      extent.encode(into: $0)
    }
    let length = extent.length
    refer(to: extent.diskAddress, length, inode, count: 1, in: handle)
    try inode.change(in: handle) { $0.becomeCache(length: length) }
    state.owners[inode.number] = group.start
    let file = CacheFileLocation(
      inode: inode.number, address: extent.diskAddress, length: length)
    let generation = handle.generation
    change(group) { $0.didSetUp(generation, file) }
  }
}
