extension Superblock {
  /// The root of one tree as a backup slot keeps it.
  package struct BackupTree: Sendable {
    package var address: LogicalAddress
    package var generation: Generation
    package var level: UInt8

    package init(address: LogicalAddress, generation: Generation, level: UInt8) {
      self.address = address
      self.generation = generation
      self.level = level
    }
  }

  private static let backupSize = 168
  private static let backupCount = 4

  /// Fills the slot after the newest one (format §3.5). `trees` are, in this order: root, chunk,
  /// extent, top-level, device, checksum.
  package mutating func rotateBackup(_ trees: [BackupTree]) {
    precondition(trees.count == 6)
    let generations = (0..<Self.backupCount).map {
      self[u64: Offset.backupRoots + $0 * Self.backupSize + 8]
    }
    var newest = 0
    for index in 1..<Self.backupCount where generations[index] > generations[newest] {
      newest = index
    }
    let slot = generations[newest] == 0 ? 0 : (newest + 1) % Self.backupCount
    let base = Offset.backupRoots + slot * Self.backupSize

    for index in base..<(base + Self.backupSize) { bytes[index] = 0 }
    for (index, tree) in trees.enumerated() {
      self[u64: base + index * 16] = tree.address.rawValue
      self[u64: base + index * 16 + 8] = tree.generation.rawValue
      bytes[base + 0x98 + index] = tree.level
    }
    self[u64: base + 0x60] = totalBytes
    self[u64: base + 0x68] = bytesUsed
    self[u64: base + 0x70] = deviceCount
  }
}
