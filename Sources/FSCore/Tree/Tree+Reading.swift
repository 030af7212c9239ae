/// Reading. Each holds the tree's lock shared while `body` runs: `body` does no IO and takes
/// only locks of higher rank.
extension Tree {
  /// The item with exactly this key; nil when there is none.
  package func find<R>(
    _ key: Key, _ body: (RawSpan) throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R? {
    try reading { () throws(FilesystemError) -> Attempt<R?> in
      switch try search(for: key) {
      case .missing(let reference): return .missing(reference)
      case .done(let found):
        guard found.isExact else { return .done(nil) }
        return .done(try body(found.leaf.item(found.slot).bytes))
      }
    }
  }

  /// Whether there is an item with this key.
  package func contains(_ key: Key) throws(FilesystemError) -> Bool {
    try find(key) { (_) throws(FilesystemError) in true } ?? false
  }

  /// The item with the largest key that is not above `key`; nil when there is none.
  package func findLast<R>(
    atMost key: Key, _ body: (Key, RawSpan) throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R? {
    try reading { () throws(FilesystemError) -> Attempt<R?> in
      switch try search(for: key) {
      case .missing(let reference): return .missing(reference)
      case .done(let found):
        // A leaf that is reached by a pointer begins with a key not above the one looked for,
        // or is the first of the tree.
        let slot = found.isExact ? found.slot : found.slot - 1
        guard slot >= 0 else { return .done(nil) }
        return .done(try body(found.leaf.key(slot), found.leaf.item(slot).bytes))
      }
    }
  }

  /// The item with the smallest key that is not below `key`; nil when there is none.
  package func findFirst<R>(
    atLeast key: Key, _ body: (Key, RawSpan) throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R? {
    try reading { () throws(FilesystemError) -> Attempt<R?> in
      var path = TreePath()
      if let missing = try descend(to: key, &path) { return .missing(missing) }
      if path.slot == path.leaf.count {
        switch try advanceToNextLeaf(&path) {
        case .end: return .done(nil)
        case .missing(let reference): return .missing(reference)
        case .moved: break
        }
      }
      let slot = path.slot
      guard slot < path.leaf.count else { return .done(nil) }
      return .done(try body(path.leaf.key(slot), path.leaf.item(slot).bytes))
    }
  }

  /// Calls `body` with each item from `from` through `through` in order, until it returns false.
  ///
  /// The lock is held for one leaf at a time, so what is seen of different leaves may be of
  /// different moments; no key is seen twice. An error of `body` ends the walk.
  package func forEach(
    from: Key, through: Key = .maximum,
    _ body: (Key, RawSpan) throws(FilesystemError) -> Bool
  ) throws(FilesystemError) {
    var next = from
    while true {
      let resume = try reading { () throws(FilesystemError) -> Attempt<Key?> in
        var path = TreePath()
        if let missing = try descend(to: next, &path) { return .missing(missing) }
        if path.slot == path.leaf.count {
          switch try advanceToNextLeaf(&path) {
          case .end: return .done(nil)
          case .missing(let reference): return .missing(reference)
          case .moved: break
          }
        }
        let leaf = path.leaf
        var last: Key?
        for slot in path.slot..<leaf.count {
          let key = leaf.key(slot)
          if key > through { return .done(nil) }
          if try !body(key, leaf.item(slot).bytes) { return .done(nil) }
          last = key
        }
        return .done(last?.successor)
      }
      guard let resume, resume <= through else { return }
      next = resume
    }
  }

  /// Calls `body` with each item that there is for one of `count` keys, which `key` gives by
  /// number, in ascending order; the same one may come again. Keys that are near each other
  /// share a search.
  ///
  /// The lock is held for one leaf at a time, as in `forEach`.
  package func findEach(
    _ count: Int, key: (Int) -> Key,
    _ body: (Int, RawSpan) throws(FilesystemError) -> Void
  ) throws(FilesystemError) {
    var next = 0
    while next < count {
      next = try reading { () throws(FilesystemError) -> Attempt<Int> in
        var path = TreePath()
        var wanted = key(next)
        if let missing = try descend(to: wanted, &path) { return .missing(missing) }
        let leaf = path.leaf
        guard leaf.count > 0 else { return .done(count) }
        let last = leaf.key(leaf.count - 1)
        var number = next
        var (slot, isFound) = (path.slot, path.isExact)
        while true {
          if isFound { try body(number, leaf.item(slot).bytes) }
          number += 1
          guard number < count else { return .done(number) }
          wanted = key(number)
          guard wanted <= last else { return .done(number) }
          (slot, isFound) = leaf.lowerBound(wanted)
        }
      }
    }
  }

  /// Lets the device begin to read the leaves in which `find` will look for `count` keys, which `key`
  /// gives by number, in ascending order, unless they are in memory. Reads what stands above them.
  package func expectFinding(
    _ count: Int, key: (Int) -> Key
  ) throws(FilesystemError) {
    try context.cache.reuse.reading { () throws(FilesystemError) in
      for _ in 0...Format.maximumLevel {
        let missing = try missingBlocks(count, key: key)
        context.cache.expectRead(missing)
        let inner = missing.filter { $0.level > 0 }
        if inner.isEmpty { return }
        for reference in inner { _ = try context.cache.load(reference) }
      }
    }
  }

  /// The topmost block on the way to each key that is not in memory.
  private func missingBlocks(
    _ count: Int, key: (Int) -> Key
  ) throws(FilesystemError) -> [BlockReference] {
    try lock.shared { () throws(FilesystemError) -> [BlockReference] in
      var missing: [BlockReference] = []
      for number in 0..<count {
        var path = TreePath()
        if let reference = try descend(to: key(number), &path),
          reference.address != missing.last?.address
        {
          missing.append(reference)
        }
      }
      return missing
    }
  }

  /// Reads leaves into memory that are likely to be asked for next: at most `count`, from the one
  /// with `key` on, none that begins after `through`.
  ///
  /// The last comes first, and the first that is there ends it: so a thread that reads them in
  /// order meanwhile meets this half way, and hardly any leaf is read twice.
  ///
  /// Which leaves they are is looked up under the tree's lock; they are read without it, when others
  /// may be changing them.
  package func prefetchLeaves(
    from key: Key, through: Key, count: Int
  ) throws(FilesystemError) {
    try context.cache.reuse.reading { () throws(FilesystemError) in
      let references = try leavesToRead(from: key, through: through, count: count)
      for reference in references.reversed() {
        guard context.cache.readAhead(reference) else { return }
      }
    }
  }

  private func leavesToRead(
    from key: Key, through: Key, count: Int
  ) throws(FilesystemError) -> [BlockReference] {
    try lock.shared { () throws(FilesystemError) -> [BlockReference] in
      var path = TreePath()
      guard !root.isLeaf else { return [] }
      let missing = try descend(to: key, &path)
      if let missing, missing.level > 0 { return [] }
      let parent = path.block(1)
      var references: [BlockReference] = []
      var slot = path.slots[1] + (missing == nil ? 1 : 0)
      while slot < parent.count, references.count < count, parent.key(slot) <= through {
        references.append(childReference(parent, slot))
        slot += 1
      }
      return references
    }
  }
}
