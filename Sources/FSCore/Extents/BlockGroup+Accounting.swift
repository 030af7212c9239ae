import FreeSpace

/// The life of a range: free → in flight (`allocate`) → used (`didInsert`) → pinned (`didFree`)
/// → free (`unpin`); or from in flight straight back (`abandon`), or by way of pinned (`didDiscard`).
extension BlockGroup {
  /// Takes `length` bytes; nil when no run of the group has them.
  func allocate(
    length: UInt64, alignment: UInt64, hint: LogicalAddress?, from reserve: SpaceReserve
  ) -> LogicalAddress? {
    state.withLock { state in
      guard state.isAllocatable, let index = state.index,
        let offset = index.allocate(length: length, alignment: alignment, hint: hint?.rawValue)
      else { return nil }
      didTake(length, &state, from: reserve)
      return LogicalAddress(offset)
    }
  }

  /// Takes as much as possible of `length` bytes in one piece, at least `minimum`.
  func allocateUpTo(
    length: UInt64, minimum: UInt64, from reserve: SpaceReserve
  ) -> (LogicalAddress, UInt64)? {
    state.withLock { state in
      guard state.isAllocatable, let index = state.index,
        let found = index.allocateUpTo(
          length: length, minimum: minimum, alignment: sectorSize, hint: nil)
      else { return nil }
      didTake(found.length, &state, from: reserve)
      return (LogicalAddress(found.offset), found.length)
    }
  }

  /// The first piece of free space of at least `length` bytes.
  func firstRun(atLeast length: UInt64) -> (start: LogicalAddress, length: UInt64)? {
    state.withLock { state in
      guard state.isAllocatable else { return nil }
      return state.index?.nextRange(from: 0, atLeast: length).map {
        (LogicalAddress($0.offset), $0.length)
      }
    }
  }

  /// Takes the first free range within `bounds` that has `minimum` bytes there, at most `maximum` of
  /// it, and less where `canSpare` says no of the class's counters, as they are and as they would be:
  /// half as much, and so on. Nil when there is no such range, or nothing of it can be spared.
  ///
  /// - Returns: also where the free range ends within `bounds`.
  func takeFree(
    in bounds: Range<LogicalAddress>, minimum: UInt64, maximum: UInt64,
    if canSpare: (_ now: SpaceCounters, _ then: SpaceCounters) -> Bool
  ) -> (address: LogicalAddress, length: UInt64, end: LogicalAddress)? {
    state.withLock { state in
      guard state.isAllocatable, let index = state.index,
        let found = index.nextRange(from: bounds.lowerBound.rawValue, atLeast: minimum)
      else { return nil }
      let offset = max(found.offset, bounds.lowerBound.rawValue)
      let end = min(found.offset + found.length, bounds.upperBound.rawValue)
      // Ranges are found in ascending order, so none behind this one has more within the bounds.
      guard offset < end, end - offset >= minimum else { return nil }

      var length = min(end - offset, maximum)
      while !counters.withLock({ $0.allows(taking: length, if: canSpare) }) {
        length = (length / 2).roundedDown(to: sectorSize)
        guard length >= Self.smallestPart else { return nil }
      }
      guard (try? index.remove(offset: offset, length: length)) != nil else { return nil }
      didTake(length, &state, from: .none)
      return (LogicalAddress(offset), length, LogicalAddress(end))
    }
  }

  /// A free range is not taken in smaller parts than that.
  private static let smallestPart: UInt64 = 64 << 10

  private func didTake(_ length: UInt64, _ state: inout State, from reserve: SpaceReserve) {
    state.inFlight += length
    state.lastUse = memory.now
    publishHint(state)
    counters.withLock { counters in
      counters.free -= length
      counters.inFlight += length
      counters.debit(length, from: reserve)
    }
  }

  /// The extent has an item in the extent tree now.
  func didInsert(_ address: LogicalAddress, _ length: UInt64) throws(FilesystemError) -> News {
    try state.withLock { state throws(FilesystemError) in
      guard state.inFlight >= length else {
        throw .corrupt("block group \(start): extent \(address) was never allocated")
      }
      do throws(FreeSpaceError) {
        try state.changes?.take(address, length)
      } catch {
        throw FilesystemError(error, group: start)
      }
      state.inFlight -= length
      state.used += length
      counters.withLock { counters in
        counters.inFlight -= length
        counters.used += length
      }
      return noteChange(&state)
    }
  }

  /// The extent's item is being deleted by transaction `generation`.
  func didFree(
    _ address: LogicalAddress, _ length: UInt64, _ generation: Generation
  ) throws(FilesystemError) -> News {
    try state.withLock { state throws(FilesystemError) in
      guard state.used >= length,
        state.index?.isFree(
          offset: address.rawValue, length: length) != true
      else {
        throw .corrupt("block group \(start): extent \(address) of \(length) bytes is freed twice")
      }
      let news = try pin(address, length, generation, &state)
      do throws(FreeSpaceError) {
        try state.changes?.free(address, length)
      } catch {
        throw FilesystemError(error, group: start)
      }
      state.used -= length
      state.lastUse = memory.now
      counters.withLock { counters in
        counters.used -= length
        counters.pinned += length
      }
      return news.union(noteChange(&state))
    }
  }

  private func pin(
    _ address: LogicalAddress, _ length: UInt64, _ generation: Generation, _ state: inout State
  ) throws(FilesystemError) -> News {
    do throws(FreeSpaceError) {
      return try state.pinned.add(address, length, generation) ? .pinned : []
    } catch {
      throw FilesystemError(error, group: start)
    }
  }

  /// An allocated extent will have no item in the extent tree, nor had it one, but readers may be
  /// there.
  func didDiscard(
    _ address: LogicalAddress, _ length: UInt64, _ generation: Generation
  ) throws(FilesystemError) -> News {
    try state.withLock { state throws(FilesystemError) in
      guard state.inFlight >= length else {
        throw .corrupt("block group \(start): extent \(address) was never allocated")
      }
      let news = try pin(address, length, generation, &state)
      state.inFlight -= length
      counters.withLock { counters in
        counters.inFlight -= length
        counters.pinned += length
      }
      return news
    }
  }

  /// An allocated extent will have no item in the extent tree, nor had it one.
  func abandon(_ address: LogicalAddress, _ length: UInt64) throws(FilesystemError) {
    try state.withLock { state throws(FilesystemError) in
      guard state.inFlight >= length, let index = state.index else {
        throw .corrupt("block group \(start): extent \(address) was never allocated")
      }
      try insertFree(address.rawValue, length, index)
      state.inFlight -= length
      publishHint(state)
      let kind = state.freeKind
      counters.withLock { counters in
        counters.inFlight -= length
        counters[keyPath: kind] += length
      }
    }
  }

  /// What `unpin` will make allocatable, in pieces of at least `shortest` bytes.
  func pinnedRanges(
    upTo generation: Generation, atLeast shortest: UInt64
  ) -> [(start: LogicalAddress, length: UInt64)] {
    state.withLock { state in
      var found: [(start: LogicalAddress, length: UInt64)] = []
      for set in state.pinned.sets where set.generation <= generation {
        var position = start.rawValue
        while let next = set.ranges.nextRange(from: position, atLeast: shortest) {
          found.append((LogicalAddress(next.offset), next.length))
          position = next.offset + next.length
        }
      }
      return found
    }
  }

  /// Makes what was freed up to and including `generation` allocatable: its commit is durable.
  func unpin(upTo generation: Generation) throws(FilesystemError) {
    try state.withLock { state throws(FilesystemError) in
      let sets = state.pinned.remove(upTo: generation)
      guard !sets.isEmpty else { return }
      let target: FreeSpaceIndex
      if let index = state.index {
        target = index
      } else {
        target = state.freedWhileUnloaded ?? emptyIndex()
        state.freedWhileUnloaded = target
      }
      var bytes: UInt64 = 0
      for set in sets {
        try set.forEachRange { offset, length throws(FilesystemError) in
          try insertFree(offset, length, target)
          bytes += length
        }
      }
      chargeMemory(&state)
      publishHint(state)
      let kind = state.freeKind
      counters.withLock { counters in
        counters.pinned -= bytes
        counters[keyPath: kind] += bytes
      }
    }
  }

  func emptyIndex() -> FreeSpaceIndex {
    FreeSpaceIndex(start: start.rawValue, length: length, sectorSize: sectorSize)
  }

  private func insertFree(
    _ offset: UInt64, _ length: UInt64, _ index: FreeSpaceIndex
  ) throws(FilesystemError) {
    do throws(FreeSpaceError) {
      try index.add(offset: offset, length: length)
    } catch {
      throw FilesystemError(error, group: start)
    }
  }

  private func noteChange(_ state: inout State) -> News {
    state.changeCount += 1
    defer { state.lists = .changed }
    return .changed.subtracting(state.lists)
  }
}
