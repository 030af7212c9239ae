import Logging

/// Moves data extents: copies the bytes, then lets every file refer to the copy.
///
/// 1. The inodes of all files that refer to the extent are locked exclusively from before it is
///    copied until the last item is changed, and nothing of them is on its way to the device
///    (`WriteBack`). So nobody writes into the extent where it stands, nor changes its items, and
///    the copy loses no reference before it has them all.
/// 2. The device has the copy before an item refers to it. The commit's flush makes it durable before
///    the superblock that leads to it.
/// 3. Items of one extent change in one transaction, or in several when they are many. After each the
///    extent and its copy are both whole; what refers to either is counted.
/// 4. Checksums of the copy come with its first reference; those of the extent go with its last.
/// 5. The bytes on the device stay as they are: compressed data are not unpacked, and preallocated
///    space to which nothing was ever written is not written to.
struct DataMover: Sendable {
  let geometry: Geometry
  let space: Space
  let trees: Trees
  let transactions: TransactionManager
  let references: DelayedReferences
  let checksums: ChecksumTree
  let inodes: InodeTable
  let files: FileStore
  let device: LogicalDevice
  let log: Logger

  /// Items that are changed in one transaction, at the most.
  private static let mostInTransaction = 32
  /// How often the files that refer to an extent are looked for, while they change.
  private static let mostAttempts = 32

  enum Outcome {
    case moved
    /// It is gone.
    case gone
    /// It belongs to these files of the root tree: of the record of free space, or of one that the
    /// image had before.
    case record(Set<ObjectID>)
  }

  /// Moves an extent out of its block group, which is read-only. Called with no lock held and no
  /// handle open. An error leaves files and trees as they were, or the volume aborted; where items
  /// are many some may have moved.
  func move(
    _ address: LogicalAddress, length: UInt64
  ) throws(FilesystemError) -> Outcome {
    let places = ExtentPlaces(trees: trees, references: references)
    for _ in 0..<Self.mostAttempts {
      let found: Set<ExtentPlace>
      switch try places.find(address, length: length) {
      case .gone: return .gone
      case .nowhere:
        try requirePlaces(places, address, length)
        continue
      case .record(let files): return .record(files)
      case .places(let places): found = places
      }

      let owners = try files(of: found)
      let isDone = try InodeTable.exclusivelyIfThere(owners) { () throws(FilesystemError) -> Bool in
        for inode in owners where inode.isRegular { files.flush(inode) }
        // What was found before the locks may have changed. Afterwards it cannot.
        guard case .places(let now) = try places.find(address, length: length),
          Set(now.map(\.file)).isSubset(of: found.map(\.file))
        else { return false }
        try move(address, length: length, now.sorted(by: ExtentPlace.isBefore), owners)
        return true
      }
      if isDone == true { return .moved }
    }
    throw .busy("the files that refer to the extent at \(address) change all the time")
  }

  /// Throws when an extent has references that lead nowhere although nobody changes anything.
  private func requirePlaces(
    _ places: ExtentPlaces, _ address: LogicalAddress, _ length: UInt64
  ) throws(FilesystemError) {
    try transactions.performAlone(reserving: 1) { (_) throws(FilesystemError) in
      guard case .nowhere = try places.find(address, length: length) else { return }
      throw .corrupt("extent \(address) has references, and no file that can be seen has it")
    }
  }

  /// The inodes of the files that have these items, loaded. Linux's tree for moving data has none.
  private func files(of places: Set<ExtentPlace>) throws(FilesystemError) -> [Inode] {
    var found: [Inode] = []
    for id in Set(places.compactMap(\.file)).sorted() {
      do throws(FilesystemError) {
        found.append(try inodes.inode(id))
      } catch .stale {
        // What has no INODE_ITEM has no file either; nobody can come by its items.
      }
    }
    return found
  }

  /// The inodes are locked. `places` are all items that refer to the extent.
  private func move(
    _ address: LogicalAddress, length: UInt64, _ places: [ExtentPlace], _ owners: [Inode]
  ) throws(FilesystemError) {
    let target = try allocate(length)
    var hasTarget = false
    do throws(FilesystemError) {
      let copier = ExtentCopier(
        geometry: geometry, device: device, checksums: checksums,
        mirrors: MirroredReader(device: device, log: log))
      let sums = try copier.sums(of: address, length: length)
      // What was written and is not referred to any more has its checksums still.
      let isUnwritten = try isUnwritten(places)
      if !isUnwritten || !sums.runs.isEmpty {
        try copier.copy(from: address, to: target, length: length, sums)
      }
      // Nobody has looked at the items of these files and not yet acted on it.
      let locks = owners.map { ($0.content, order: $0.id) }
      try ReadWriteLock.exclusively(locks) { () throws(FilesystemError) in
        var rest = places[...]
        while !rest.isEmpty {
          // Trees that have an item in one leaf are not divided.
          let last = rest.prefix(Self.mostInTransaction).last?.key
          let end = rest.dropFirst(Self.mostInTransaction).firstIndex { $0.key != last }
          let part = rest[..<(end ?? rest.endIndex)]
          try redirect(
            part, from: address, to: target, length: length, hasTarget ? nil : sums)
          hasTarget = true
          rest = rest[part.endIndex...]
        }
      }
    } catch {
      if !hasTarget, transactions.failure == nil {
        space.allocator.abandon(target, length: length)
      }
      throw error
    }
  }

  /// Whether all items say that nothing was written to the extent yet.
  private func isUnwritten(_ places: [ExtentPlace]) throws(FilesystemError) -> Bool {
    for place in places {
      let kind = try tree(of: place).find(place.key) { bytes throws(FilesystemError) in
        try FileExtentItem(bytes).kind
      }
      if kind != .preallocated { return false }
    }
    return true
  }

  private func tree(of place: ExtentPlace) throws(FilesystemError) -> Tree {
    guard let tree = try trees.shareable(place.tree) else {
      throw .corrupt("tree \(place.tree) is gone")
    }
    return tree
  }

  /// Space for the copy, in one piece.
  private func allocate(_ length: UInt64) throws(FilesystemError) -> LogicalAddress {
    let reservations = space.reservations
    // Its items are reserved for by the transactions that change them.
    try reservations.reserveData(length, items: 0)
    let memory = space.groups.memory
    memory.beginSearch()
    defer { memory.endSearch() }
    while true {
      do throws(FilesystemError) {
        let (address, _) = try space.allocator.allocateData(
          length: length, minimum: length, hint: nil, usingReserved: true)
        files.didAllocate(address, length: length)
        return address
      } catch {
        // There may be enough in pieces.
        guard case .noSpace = error, reservations.growData() else {
          reservations.releaseData(length)
          throw error
        }
      }
    }
  }

  /// Changes some items; with `sums` these are the first, which bring the copy into the trees.
  private func redirect(
    _ places: ArraySlice<ExtentPlace>, from old: LogicalAddress, to new: LogicalAddress,
    length: UInt64, _ sums: ExtentCopier.Sums?
  ) throws(FilesystemError) {
    let sumSize = geometry.checksumType.size
    let sumItems = sums.map { 2 * $0.runs.count + $0.bytes.count / (geometry.maximumItemSize / 2) }
    let leaves = try leaves(of: places)
    let path = try SharedPath(trees.context)
    var move = ExtentRedirection(
      references: references, old: old, new: new, kind: .data(length: length),
      isNew: sums != nil)

    try transactions.perform(reserving: 2 * places.count + (sumItems ?? 0) + 2) {
      (handle) throws(FilesystemError) in
      for leaf in leaves {
        if leaf.trees.count > 1, let block = leaf.block {
          let outcome = try path.move(
            block.address, level: 0, key: block.firstKey, in: leaf.trees, by: handle
          ) { (copy, isFull) throws(FilesystemError) in
            for key in leaf.keys { try move.change(key, in: copy, isFull, in: handle) }
          }
          if case .moved = outcome { continue }
        }
        // In a leaf that each tree then has for itself.
        for tree in leaf.trees {
          for key in leaf.keys { try move.change(key, in: tree, in: handle) }
        }
      }
      guard let sums else { return }
      for run in sums.runs {
        let bytes = Array(sums.bytes[run.lowerBound * sumSize..<run.upperBound * sumSize])
        try bytes.withUnsafeBytesThrowing { (bytes) throws(FilesystemError) in
          try checksums.insert(
            at: new + UInt64(run.lowerBound) * geometry.sectorSize, bytes, in: handle)
        }
      }
    }
  }

  /// Items in one leaf, and the trees that have it.
  private struct Leaf {
    var keys: [Key]
    let block: (address: LogicalAddress, firstKey: Key)?
    var trees: [Tree]
  }

  /// The items by the leaves in which they stand at the moment.
  private func leaves(of places: ArraySlice<ExtentPlace>) throws(FilesystemError) -> [Leaf] {
    var leaves: [Leaf] = []
    for place in places {
      let tree = try tree(of: place)
      let block = try tree.leaf(of: place.key)
      let index = block.flatMap { block in
        leaves.lastIndex { $0.block?.address == block.address }
      }
      guard let index else {
        leaves.append(Leaf(keys: [place.key], block: block, trees: [tree]))
        continue
      }
      // The items are in ascending order, and a leaf has all of its items in all of its trees.
      if leaves[index].keys.last != place.key { leaves[index].keys.append(place.key) }
      if !leaves[index].trees.contains(where: { $0 === tree }) { leaves[index].trees.append(tree) }
    }
    return leaves
  }
}

extension ExtentPlace {
  /// The file that has the item; nil where there is none that anybody could open.
  var file: InodeID? {
    tree.isSubvolume ? InodeID(tree: tree, number: key.objectID) : nil
  }

  static func isBefore(_ a: ExtentPlace, _ b: ExtentPlace) -> Bool {
    (a.key, a.tree) < (b.key, b.tree)
  }
}
