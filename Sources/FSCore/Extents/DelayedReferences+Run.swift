extension DelayedReferences {
  /// Applies what is noted to the extent tree, and what that brings about, in ascending order
  /// of addresses, until nothing is left or `limit` extents have been done. Several threads may
  /// be in here. The caller holds no tree's lock, and has changed nothing through the handle that
  /// is not whole.
  ///
  /// An error before an extent's first change leaves that one noted, and all is as if the run had
  /// ended before it. After an error later on the handle is half done, which aborts the volume.
  package func run(
    in handle: borrowing TransactionHandle, atMost limit: Int = .max
  ) throws(FilesystemError) {
    var left = limit
    while left > 0 {
      handle.noteWhole()
      if let freed = queue.withLock({ $0.takeUnfinished() }) {
        try finish(freed, in: handle)
        continue
      }
      var freed: FreedData?
      let isAtEnd = try lock.withLock { pass throws(FilesystemError) -> Bool in
        guard let (address, head) = nextHead(&pass) else { return true }
        do throws(FilesystemError) {
          for _ in 0..<head.weight { space.creditReference(to: handle) }
          freed = try apply(head, to: address, in: handle)
        } catch {
          putBack(head, at: address, unlessHalfDone: handle)
          throw error
        }
        return false
      }
      if isAtEnd { return }
      left -= 1
      if let freed { try finish(freed, in: handle) }
    }
    handle.noteWhole()
  }

  /// Notes again what could not be applied. When something was changed it is lost, with the volume.
  private func putBack(
    _ head: DelayedHead, at address: LogicalAddress,
    unlessHalfDone handle: borrowing TransactionHandle
  ) {
    if handle.isHalfDone { return }
    let isAbandoned = queue.withLock { $0.putBack(head, at: address) }
    if isAbandoned { abandonTreeBlock(address) }
  }

  /// Takes the next head out of the queue. `lock` is held.
  private func nextHead(_ pass: inout Pass) -> (LogicalAddress, DelayedHead)? {
    while true {
      while pass.position < pass.addresses.count {
        let address = pass.addresses[pass.position]
        pass.position += 1
        if let head = queue.withLock({ $0.take(address) }) { return (address, head) }
      }

      // Sorted anew once a pass, not kept in order: adding is far more frequent.
      pass.position = 0
      pass.addresses.removeAll(keepingCapacity: pass.addresses.count < 65536)
      queue.withLock { queue in
        pass.addresses.append(contentsOf: queue.heads.keys)
        queue.shrink()
      }
      if pass.addresses.isEmpty { return nil }
      pass.addresses.sort()
    }
  }

  /// Applies one head. `lock` is held.
  private func apply(
    _ head: DelayedHead, to address: LogicalAddress, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> FreedData? {
    guard !head.isContradictory else {
      throw .corrupt("contradictory references to \(address)")
    }
    guard head.isNew else { return try applyToItem(head, address, in: handle) }

    guard head.isEmpty else {
      try insertItem(head, address, in: handle)
      return nil
    }
    guard case .data(let length) = head.kind else { return nil }
    return FreedData(address: address, length: length, isAbandoned: true)
  }

  /// Makes the item of a new extent.
  private func insertItem(
    _ head: DelayedHead, _ address: LogicalAddress, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    var record = ExtentItemRecord(
      head.kind, generation: handle.generation, isSkinny: geometry.hasSkinnyMetadata)
    let keyed = try change(&record, by: head)

    try read(keyed, of: address)
    let key = itemKeys(address, head.kind)[0]
    do {
      try extentTree.insert(key, size: record.encodedSize, in: handle) { record.encode(into: $0) }
    } catch .exists {
      throw .corrupt("extent \(address) was allocated while in use")
    }
    try apply(keyed, to: address, in: handle)
    space.extentInserted(
      address, length: length(of: head.kind), isMetadata: head.kind.isTreeBlock, in: handle)
  }

  /// Changes the item of an extent that has one, or deletes it with the last reference.
  private func applyToItem(
    _ head: DelayedHead, _ address: LogicalAddress, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> FreedData? {
    enum Rest {
      case nothing
      case rewrite(ExtentItemRecord, keyed: [ReferenceChange])
    }

    // The leaf changes in any case, so it is sought for a change at once: mere counts, the
    // most frequent change of data, take one search.
    for key in itemKeys(address, head.kind) {
      let rest = try extentTree.modify(key, in: handle) { bytes throws(FilesystemError) -> Rest in
        var record = try ExtentItemRecord(
          UnsafeRawBufferPointer(bytes).bytes, type: key.type, of: head.kind)
        let keyed = try change(&record, by: head)
        noteFormerlyShared(address, head, record)
        guard keyed.isEmpty, record.references > 0, record.encodedSize == bytes.count else {
          return .rewrite(record, keyed: keyed)
        }
        record.encode(into: bytes)
        return .nothing
      }

      switch rest {
      case nil: continue
      case .nothing: return nil
      case .rewrite(let record, let keyed):
        // So far blocks were copied, and the item is what it was.
        handle.noteWhole()
        try read(keyed, of: address)
        try apply(keyed, to: address, in: handle)
        guard record.references == 0 else {
          try extentTree.replace(key, size: record.encodedSize, in: handle) {
            record.encode(into: $0)
          }
          return nil
        }
        guard try extentTree.delete(key, in: handle) else {
          throw .corrupt("the extent item \(key) vanished")
        }
        return freed(address, head.kind, in: handle)
      }
    }
    throw .corrupt("no extent item for \(address)")
  }

  /// `record` is what `head` leaves.
  private func noteFormerlyShared(
    _ address: LogicalAddress, _ head: DelayedHead, _ record: ExtentItemRecord
  ) {
    guard case .data = head.kind, record.references > 0,
      head.takesFrom({ record.references > record.inlineCount(of: $0) })
    else { return }
    formerlyShared.withLock { _ = $0.insert(address) }
  }

  /// Counts the changes of `head` into `record`; returns those that concern keyed items.
  private func change(
    _ record: inout ExtentItemRecord, by head: DelayedHead
  ) throws(FilesystemError) -> [ReferenceChange] {
    let limit = ExtentItemRecord.inlineLimit(leafCapacity: geometry.leafCapacity)
    var keyed: [ReferenceChange] = []
    try head.forEachChange { change throws(FilesystemError) in
      if try !record.apply(change, inlineLimit: limit) { keyed.append(change) }
    }
    if head.setsFullBackref { record.flags.insert(.fullBackref) }
    return keyed
  }

  /// Reads the blocks in which keyed items stand, so that no read fails between two changes.
  private func read(
    _ keyed: [ReferenceChange], of address: LogicalAddress
  ) throws(FilesystemError) {
    let references = ExtentTreeReferences(tree: extentTree)
    for change in keyed { _ = try references.count(of: change.identity, to: address) }
  }

  private func apply(
    _ keyed: [ReferenceChange], to address: LogicalAddress, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let references = ExtentTreeReferences(tree: extentTree)
    for change in keyed { try references.apply(change, to: address, in: handle) }
  }

  /// The extent's item is gone.
  private func freed(
    _ address: LogicalAddress, _ kind: ExtentKind, in handle: borrowing TransactionHandle
  ) -> FreedData? {
    if kind.isTreeBlock { dropBlock(address) }
    space.extentFreed(address, length: length(of: kind), isMetadata: kind.isTreeBlock, in: handle)
    guard case .data(let length) = kind else { return nil }
    return FreedData(address: address, length: length, isAbandoned: false)
  }

  /// Removes the checksums of freed data. `lock` is not held: this changes another tree, which
  /// notes changes here. The next run does the rest after an error.
  private func finish(
    _ freed: FreedData, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    handle.noteWhole()
    do throws(FilesystemError) {
      while let checksums,
        try checksums.removePart(from: freed.address, length: freed.length, in: handle)
      {
        handle.noteWhole()
      }
    } catch {
      if !handle.isHalfDone { queue.withLock { $0.addUnfinished(freed) } }
      throw error
    }
    if freed.isAbandoned { space.discard(freed.address, length: freed.length, in: handle) }
  }

  private func length(of kind: ExtentKind) -> UInt64 {
    switch kind {
    case .treeBlock: geometry.nodeSize
    case .data(let length): length
    }
  }
}

extension DelayedReferences: CommitParticipant {
  package func prepare(in handle: borrowing TransactionHandle) throws(FilesystemError) {
    try run(in: handle)
  }

  package func preparePaths(
    in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    guard pendingCount > 0 else { return false }
    try run(in: handle)
    return true
  }

  package func settle(
    in handle: borrowing TransactionHandle, _ context: borrowing CommitContext, round: Int
  ) throws(FilesystemError) -> Bool {
    guard pendingCount > 0 else { return false }
    try run(in: handle)
    return true
  }

  package func didCommit(_ generation: Generation) {
    formerlyShared.withLock { $0.removeAll() }
  }

  package func brokenInvariants() -> [String] {
    let count = pendingCount
    return count == 0 ? [] : ["\(count) extents have references that are not applied"]
  }
}
