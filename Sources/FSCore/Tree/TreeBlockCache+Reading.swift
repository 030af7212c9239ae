import Logging

/// Reading blocks from the device, and what is checked before anybody sees them.
extension TreeBlockCache {
  /// Throws unless the block is what its parent says.
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
    let isOwnerRight =
      reference.tree.isShareable ? block.owner.isShareable : block.owner == reference.tree
    guard isOwnerRight else {
      throw .corrupt(
        "tree \(reference.tree): block \(reference.address) belongs to tree \(block.owner)")
    }
  }

  /// Reads a block, from another copy if one is bad; a bad copy is written anew when another
  /// is good.
  func read(_ reference: BlockReference) throws(FilesystemError) -> TreeBlock {
    guard reference.address.rawValue % geometry.sectorSize == 0 else {
      throw .corrupt("tree \(reference.tree): a pointer to \(reference.address)")
    }
    let copies = try device.copies(at: reference.address)
    var badCopies: [Int] = []
    var firstError: FilesystemError?

    for copy in 0..<copies {
      let buffer = AlignedBuffer(count: geometry.nodeBytes)
      do throws(FilesystemError) {
        try device.read(into: buffer.bytes, at: reference.address, copy: copy)
        try verify(buffer, reference)
        let block = TreeBlock(adopting: buffer)
        try check(block, reference)
        repair(badCopies, from: block, reason: firstError)
        return block
      } catch {
        badCopies.append(copy)
        firstError = firstError ?? error
      }
    }
    let error = firstError ?? .onOtherDevice(reference.address)
    log.error("tree \(reference.tree): block \(reference.address): \(error)")
    throw error
  }

  private func verify(
    _ buffer: AlignedBuffer, _ reference: BlockReference
  ) throws(FilesystemError) {
    guard geometry.checksumType.isSealed(buffer.readable) else {
      throw .checksum(
        what: "tree block of tree \(reference.tree)", address: reference.address.rawValue)
    }
    let header = BlockHeader(buffer.readable.bytes)
    guard header.address == reference.address, header.fsid == geometry.fsid else {
      throw .corrupt("tree \(reference.tree): block \(reference.address) is not itself")
    }
    guard header.level <= Format.maximumLevel else {
      throw .corrupt("tree \(reference.tree): block \(reference.address) has level \(header.level)")
    }
    try BlockValidation.check(
      buffer.readable, geometry: geometry, address: reference.address,
      superGeneration: superGeneration)
  }

  private func repair(_ badCopies: [Int], from block: TreeBlock, reason: FilesystemError?) {
    guard !badCopies.isEmpty else { return }
    let why = reason.map { "\($0)" } ?? "unreadable"
    guard canRepair else {
      log.warning("tree block \(block.address): using another copy, one is bad: \(why)")
      return
    }
    for copy in badCopies {
      do throws(FilesystemError) {
        try device.writeCopy(block.buffer.readable, at: block.address, copy: copy)
        log.warning("tree block \(block.address): copy \(copy) was bad and is repaired: \(why)")
      } catch {
        log.error("tree block \(block.address): copy \(copy) cannot be repaired: \(error)")
      }
    }
  }
}
