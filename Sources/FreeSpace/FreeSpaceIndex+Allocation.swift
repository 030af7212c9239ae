extension FreeSpaceIndex {
  /// Takes `length` contiguous bytes at an address that is a multiple of `alignment`, or
  /// returns nil.
  ///
  /// The first place from `hint` on that fits is taken; without a hint, or if nothing
  /// after it fits, one of a size close to `length`, else the first of the group.
  /// `length` must be whole sectors and `alignment` a power of two.
  package func allocate(length: UInt64, alignment: UInt64, hint: UInt64?) -> UInt64? {
    let count = sectorCount(ofRequest: length)
    guard count <= sectorCount else { return nil }
    let alignment = alignmentSectors(alignment)
    guard let range = findPlace(for: count, alignment: alignment, hint: hint) else {
      return nil
    }
    take(range)
    return address(range.lowerBound)
  }

  /// Takes up to `length` contiguous bytes: all of it if `allocate` can, else as much of the
  /// longest run as is a multiple of `alignment`, but not less than `minimum`.
  package func allocateUpTo(
    length: UInt64, minimum: UInt64, alignment: UInt64, hint: UInt64?
  ) -> (offset: UInt64, length: UInt64)? {
    precondition(minimum <= length)
    if let offset = allocate(length: length, alignment: alignment, hint: hint) {
      return (offset, length)
    }
    let wanted = min(sectorCount(ofRequest: length), sectorCount)
    let least = max(sectorCount(ofRequest: max(minimum, sectorSize)), 1)
    let alignment = alignmentSectors(alignment)
    guard let range = longestPlace(upTo: wanted, atLeast: least, alignment: alignment) else {
      return nil
    }
    take(range)
    return (address(range.lowerBound), bytes(range.count))
  }

  private func sectorCount(ofRequest length: UInt64) -> Int {
    precondition(length > 0 && length & (sectorSize - 1) == 0)
    return Int(length >> sectorShift)
  }

  private func alignmentSectors(_ alignment: UInt64) -> Int {
    precondition(alignment.nonzeroBitCount == 1)
    return Int(clamping: max(alignment, sectorSize) >> sectorShift)
  }

  /// The first aligned sector at or after `sector`. Alignment is that of the address.
  @inline(__always)
  private func aligned(_ sector: Int, _ alignment: Int) -> Int {
    if alignment == 1 { return sector }
    let absolute = address(sector) &>> sectorShift
    let excess = absolute & (UInt64(alignment) &- 1)
    return excess == 0 ? sector : sector &+ alignment &- Int(excess)
  }

  private func findPlace(for count: Int, alignment: Int, hint: UInt64?) -> Range<Int>? {
    guard count <= tree.root.longest, alignment <= 1 << 48 else { return nil }
    if let known = knownMisfit, count >= known.sectors, alignment >= known.alignment {
      return nil
    }
    let first = hint.map { firstSector(from: $0) } ?? 0
    if first > 0, first < sectorCount,
      let place = firstFit(count, alignment: alignment, from: first)
    {
      return place
    }
    if alignment == 1, hint == nil || first > 0, let place = closeFit(count) { return place }
    if let place = firstFit(count, alignment: alignment, from: 0) { return place }
    knownMisfit = (count, alignment)
    return nil
  }

  /// The first sector at or after an address; the group's sector count if it is behind.
  private func firstSector(from address: UInt64) -> Int {
    if address <= start { return 0 }
    if address >= end { return sectorCount }
    return Int((address - start + sectorSize - 1) >> sectorShift)
  }

  private func firstFit(_ count: Int, alignment: Int, from first: Int) -> Range<Int>? {
    var position = first
    var misfits = 0
    while let run = firstRun(atLeast: count, from: position) {
      let place = aligned(run.lowerBound, alignment)
      if place + count <= run.upperBound { return place..<place + count }
      position = run.upperBound
      misfits += 1
      // Many runs that are long enough but lie badly: one long enough for any
      // position is found without visiting them.
      if misfits == 32, let roomy = firstRun(atLeast: count + alignment - 1, from: position) {
        let place = aligned(roomy.lowerBound, alignment)
        return place..<place + count
      }
    }
    return nil
  }

  /// A run of the smallest size class in which every run is long enough.
  private func closeFit(_ count: Int) -> Range<Int>? {
    let roomy = RunCensus.roomyClass(for: count)
    guard roomy < 16 else { return nil }
    let candidates = tree.root.classes >> UInt32(roomy)
    guard candidates != 0 else { return nil }
    let sizeClass = roomy + candidates.trailingZeroBitCount
    guard let window = tree.firstLeaf(withClass: sizeClass),
      let run = windows[window].someRun(ofClass: sizeClass)
    else { return nil }
    let place = window << SpaceWindow.sectorShift + run.lowerBound
    return place..<place + count
  }

  private func longestPlace(
    upTo wanted: Int, atLeast least: Int, alignment: Int
  ) -> Range<Int>? {
    let longest = tree.root.longest
    guard longest >= least, alignment <= longest,
      let run = firstRun(atLeast: longest, from: 0)
    else { return nil }
    let place = aligned(run.lowerBound, alignment)
    let usable = min(run.upperBound - place, wanted) & ~(alignment - 1)
    if usable >= least, usable > 0 { return place..<place + usable }
    // The longest run lies badly; a shorter one may still hold the minimum.
    let rounded = (least + alignment - 1) & ~(alignment - 1)
    guard rounded <= wanted else { return nil }
    return findPlace(for: rounded, alignment: alignment, hint: nil)
  }

  /// The first run with at least `count` sectors at or after `first`: its part from `first`
  /// on, up to where it ends.
  func firstRun(atLeast count: Int, from first: Int) -> Range<Int>? {
    guard first < sectorCount, tree.root.longest >= count else { return nil }
    let window = first >> SpaceWindow.sectorShift
    let base = window << SpaceWindow.sectorShift
    let leaf = tree.leaf(window)
    if leaf.longest >= count,
      let run = windows[window].firstRun(atLeast: count, from: first - base)
    {
      return base + run.lowerBound..<runEnd(base + run.upperBound)
    }
    let carried = min(leaf.trail, leaf.length - (first - base))
    guard
      let found = tree.firstLeaf(from: window + 1, withRun: count, carried: carried)
    else { return nil }
    let foundBase = found.leaf << SpaceWindow.sectorShift
    if found.carried + tree.leaf(found.leaf).lead >= count {
      let end = foundBase + tree.leaf(found.leaf).lead
      return foundBase - found.carried..<runEnd(end)
    }
    guard let run = windows[found.leaf].firstRun(atLeast: count, from: 0) else { return nil }
    return foundBase + run.lowerBound..<runEnd(foundBase + run.upperBound)
  }

  /// Where the run ends that is known to reach `sector`.
  private func runEnd(_ sector: Int) -> Int {
    var end = sector
    while end < sectorCount, end & (SpaceWindow.sectorsPerWindow - 1) == 0 {
      let lead = tree.leaf(end >> SpaceWindow.sectorShift).lead
      if lead == 0 { break }
      end += lead
    }
    return end
  }
}
