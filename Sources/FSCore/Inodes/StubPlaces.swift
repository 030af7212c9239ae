/// Where the stubs stand that somebody has looked at. A stub is the empty directory in place of a
/// subvolume that a snapshot does not have; nothing of it is on disk, so its number is made up.
///
/// 1. A stub has one number for as long as the kernel refers to it, in memory or not, and no two
///    have the same: to the kernel a directory is one name.
/// 2. A number is given out once, from a range in which no inode on disk is.
/// 3. Places to which the kernel does not refer, and for which nobody has asked lately, go when
///    there are many.
///
/// Lock rank: `leaf`.
final class StubPlaces: Sendable {
  private struct Place: Hashable {
    let directory: InodeID
    let name: [UInt8]
  }

  private struct State {
    struct Entry {
      let place: Place
      /// Asked for since the last look for what may go.
      var isRecent = true
    }

    var entries: [InodeID: Entry] = [:]
    var ids: [Place: InodeID] = [:]
    var given: UInt64 = 0
    /// How many there may be before the next look for what may go.
    var bound = StubPlaces.smallestBound
  }

  static let smallestBound = 1024
  private let lookups: LookupCounts
  private let state = Guarded(State(), rank: .leaf)

  init(lookups: LookupCounts) { self.lookups = lookups }

  /// The id of the stub that stands as `name` in `directory`. Throws `.overflow` when all numbers
  /// have been given out.
  func id(of name: [UInt8], in directory: InodeID) throws(FilesystemError) -> InodeID {
    if state.withLock({ $0.entries.count >= $0.bound }) { removeUnused() }
    let place = Place(directory: directory, name: name)
    return try state.update { state throws(FilesystemError) in
      if let id = state.ids[place] {
        state.entries[id]?.isRecent = true
        return id
      }
      let number = ObjectID(rawValue: ObjectID.firstStub.rawValue + state.given)
      guard number <= .lastStub else { throw .overflow }
      state.given += 1
      let id = InodeID(tree: directory.tree, number: number)
      state.ids[place] = id
      state.entries[id] = State.Entry(place: place)
      return id
    }
  }

  /// The directory in which a stub stands; nil when nobody can know its number any more.
  func directory(of id: InodeID) -> InodeID? {
    state.withLock { state in
      guard let index = state.entries.index(forKey: id) else { return nil }
      state.entries.values[index].isRecent = true
      return state.entries.values[index].place.directory
    }
  }

  var count: Int { state.withLock { $0.entries.count } }

  private func removeUnused() {
    let idle = state.withLock { state in
      var idle: [InodeID] = []
      for index in state.entries.indices {
        if !state.entries.values[index].isRecent { idle.append(state.entries.keys[index]) }
        state.entries.values[index].isRecent = false
      }
      return idle
    }
    let unused = idle.filter { !lookups.contains($0) }
    state.withLock { state in
      // Whoever has asked meanwhile has made it recent.
      for id in unused where state.entries[id]?.isRecent == false {
        guard let entry = state.entries.removeValue(forKey: id) else { continue }
        state.ids[entry.place] = nil
      }
      let heldCount = idle.count - unused.count
      state.bound = state.entries.count + max(Self.smallestBound, heldCount)
    }
  }
}
