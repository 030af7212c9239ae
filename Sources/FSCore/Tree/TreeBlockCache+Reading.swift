import Synchronization

/// How blocks come into the cache, and what is checked before anybody sees them.
extension TreeBlockCache {
  /// Throws unless a block that is in memory is what its parent says.
  func check(
    _ block: TreeBlock, _ reference: BlockReference
  ) throws(FilesystemError) {
    guard block.generation == reference.generation else {
      throw .corrupt(
        "tree \(reference.tree): block \(reference.address) has generation \(block.generation), "
          + "its parent says \(reference.generation)")
    }
    guard block.level == reference.level else {
      throw .corrupt(
        "tree \(reference.tree): block \(reference.address) has level \(block.level), "
          + "its parent says \(reference.level)")
    }
    if let key = reference.firstKey {
      guard block.count > 0, block.firstKey == key else {
        throw .corrupt(
          "tree \(reference.tree): block \(reference.address) begins with another key than "
            + "its parent says")
      }
    }
    guard reference.mayBelong(to: block.owner) else {
      throw .corrupt(
        "tree \(reference.tree): block \(reference.address) belongs to tree \(block.owner)")
    }
  }

  /// Reads a block from the device.
  func read(
    _ reference: BlockReference, by reader: BlockReader
  ) throws(FilesystemError) -> TreeBlock {
    let buffer = AlignedBuffer(count: geometry.nodeBytes)
    try reader.read(reference, newest: newestOnDevice, into: buffer.bytes)
    return TreeBlock(adopting: buffer)
  }

  /// Says to the device which blocks will be read soon, but for those in memory. Their references may
  /// be out of date.
  func expectRead(_ references: [BlockReference]) {
    for reference in references where !isPresent(reference.address) {
      quietReader.mirrors.device.expectRead(geometry.nodeBytes, at: reference.address)
    }
  }

  /// Reads a block that is likely to be asked for, unless there is one in memory; says whether it
  /// did. Hold no tree's lock, but what keeps freed space from being used anew.
  ///
  /// The reference may be out of date: another thread may change the block or abandon it before it
  /// was ever written. So a block in memory is not looked at, and an error is nobody's business.
  func readAhead(_ reference: BlockReference) -> Bool {
    guard reference.generation <= newestOnDevice, !isPresent(reference.address) else {
      return false
    }
    do throws(FilesystemError) {
      _ = insert(try read(reference, by: quietReader))
      blocksReadAhead.add(1, ordering: .relaxed)
    } catch {
      // Whoever needs the block meets the error, and says so.
    }
    return true
  }

  /// Whether what stands at an address is a block of another tree than `id`: as it is in memory, or
  /// by the first copy on the device that is whole. What has no whole copy belongs to nobody.
  package func belongsToOther(than id: TreeID, at address: LogicalAddress) -> Bool {
    if let owner = owner(at: address) { return owner != id }
    let buffer = AlignedBuffer(count: geometry.nodeBytes)
    do throws(FilesystemError) {
      return try reuse.reading { () throws(FilesystemError) in
        try quietReader.mirrors.read(into: buffer.bytes, at: address, of: { "" }) {
          (block) throws(FilesystemError) in
          let header = BlockHeader(block.bytes)
          guard geometry.checksumType.isSealed(block), header.fsid == geometry.fsid,
            header.address == address
          else { throw .checksum(what: "tree block", address: address.rawValue) }
          return header.owner != id
        }.value
      }
    } catch {
      return false
    }
  }
}
