/// Reads tree blocks from the device and checks all that one block can show: for the cache of a
/// volume, and for inspection.
///
/// 1. No block is newer than the last transaction whose blocks may be on the device, but for those
///    of a log tree, which belong to the one that was running.
package struct BlockReader: Sendable {
  let mirrors: MirroredReader
  let geometry: Geometry

  package init(mirrors: MirroredReader, geometry: Geometry) {
    self.mirrors = mirrors
    self.geometry = geometry
  }

  /// Fills `buffer` with the block that `reference` leads to, from the first copy that is right;
  /// returns the copies before it.
  ///
  /// - Parameter further: looks at a block that passed all other checks.
  @discardableResult
  func read(
    _ reference: BlockReference, newest: Generation, into buffer: UnsafeMutableRawBufferPointer,
    _ further: (UnsafeRawBufferPointer) throws(FilesystemError) -> Void = {
      (_) throws(FilesystemError) in
    }
  ) throws(FilesystemError) -> [MirroredReader.BadMirror] {
    guard reference.address.rawValue % geometry.sectorSize == 0 else {
      throw .corrupt("tree \(reference.tree): a pointer to \(reference.address)")
    }
    return try mirrors.read(
      into: buffer, at: reference.address,
      of: { "tree \(Int64(bitPattern: reference.tree.rawValue)) block \(reference.address)" }
    ) { (block) throws(FilesystemError) in
      try check(block, reference, newest)
      try further(block)
    }.bad
  }

  /// As `read`, of a leaf in which single items are damaged: returns by their slots which rule each
  /// breaks.
  func readSparing(
    _ reference: BlockReference, newest: Generation, into buffer: UnsafeMutableRawBufferPointer,
    _ further: (UnsafeRawBufferPointer) throws(FilesystemError) -> Void
  ) throws(FilesystemError) -> [Int: StaticString] {
    try mirrors.read(
      into: buffer, at: reference.address,
      of: { "tree \(Int64(bitPattern: reference.tree.rawValue)) block \(reference.address)" }
    ) { (block) throws(FilesystemError) in
      try checkHeader(block, reference, newest)
      let damaged = try BlockValidation.damagedItems(
        block, geometry: geometry, address: reference.address, superGeneration: newest)
      try checkFirstKey(block, reference)
      try further(block)
      return damaged
    }.value
  }

  private func check(
    _ block: UnsafeRawBufferPointer, _ reference: BlockReference, _ newest: Generation
  ) throws(FilesystemError) {
    try checkHeader(block, reference, newest)
    try BlockValidation.check(
      block, geometry: geometry, address: reference.address, superGeneration: newest)
    try checkFirstKey(block, reference)
  }

  private func checkFirstKey(
    _ block: UnsafeRawBufferPointer, _ reference: BlockReference
  ) throws(FilesystemError) {
    guard let key = reference.firstKey else { return }
    guard BlockHeader(block.bytes).itemCount > 0, Key(block, at: Format.headerSize) == key else {
      throw .corrupt("tree block \(reference.address): its first key is not its parent's")
    }
  }

  private func checkHeader(
    _ block: UnsafeRawBufferPointer, _ reference: BlockReference, _ newest: Generation
  ) throws(FilesystemError) {
    guard geometry.checksumType.isSealed(block) else {
      throw .checksum(what: "tree block", address: reference.address.rawValue)
    }
    let header = BlockHeader(block.bytes)
    func require(
      _ isRight: Bool, _ what: @autoclosure () -> String
    ) throws(FilesystemError) {
      if !isRight { throw .corrupt("tree block \(reference.address): \(what())") }
    }
    try require(header.fsid == geometry.fsid, "it belongs to another file system")
    try require(
      header.address == reference.address, "it was written for address \(header.address)")
    try require(
      header.level == reference.level, "level \(header.level) in place of \(reference.level)")
    try require(
      header.generation == reference.generation,
      "generation \(header.generation) in place of \(reference.generation)")
    let bound = reference.tree.kind.isAheadOfCommits ? newest.next : newest
    try require(
      header.generation <= bound,
      "it is from a future transaction: \(header.generation), the last one is \(newest)")
    try require(
      reference.mayBelong(to: header.owner),
      "it belongs to tree \(Int64(bitPattern: header.owner.rawValue))")
  }
}
