import Testing

@testable import FSCore

/// Empty chunks are given back where nothing is left for the tree blocks that this takes.
@Suite(.timeLimit(.minutes(2))) struct RemovalUnderPressureTests {
  /// Takes what is free of a class, but for `kept` bytes.
  private static func take(
    _ members: BlockGroupClass, keeping kept: UInt64
  ) -> [(group: BlockGroup, address: LogicalAddress, length: UInt64)] {
    var taken: [(group: BlockGroup, address: LogicalAddress, length: UInt64)] = []
    for group in members.groups {
      while let part = group.takeFree(
        in: group.start..<group.end, minimum: group.sectorSize, maximum: 1 << 20,
        if: { _, then in then.free >= then.reserved + kept })
      {
        taken.append((group, part.address, part.length))
      }
    }
    return taken
  }

  /// A removal that finds no room for its tree blocks asks for a commit, and that one must not wait
  /// for the removal.
  @Test func aRemovalDoesNotWaitForItself() throws {
    let device = try TestImage.make(sizeBytes: 192 << 20)
    let volume = try Volume.mountForTest(device)
    var count = 0
    while true {
      let id = try volume.makeFile("/large\(count)")
      count += 1
      do throws(FilesystemError) {
        try volume.content.allocate(id, .plain, offset: 0, length: 4 << 20)
      } catch { break }
    }
    for number in 0..<count { try volume.remove("/large\(number)") }
    try volume.synchronizeAll()
    try volume.remover.removeIdle()
    let before = volume.space.groups.data.groups.count
    try #require(before > 2 && volume.space.chunks.allocator.unallocated < 1 << 20)

    // Copied blocks are pinned, so a commit looks like a help.
    try volume.makeFile("/change")
    let metadata = volume.space.groups.metadata
    let reserve = volume.space.reservations.policy.commitReserve(
      metadataBytes: metadata.counters.withLock { $0.length })
    let taken = Self.take(metadata, keeping: reserve)
    let commits = volume.committer.statistics.whole.count
    let isDone = Guarded(false, rank: .leaf)
    let thread = BackgroundThread {
      try? volume.remover.removeIdle()
      isDone.update { $0 = true }
    }
    // If it does not end there is nothing to be cleaned up: the thread has the volume.
    try #require(isDone.wait(atMost: 60) { $0 }, "the removal waits for itself")
    thread.join()
    #expect(volume.committer.statistics.whole.count > commits)
    for part in taken { volume.space.allocator.abandon(part.address, length: part.length) }
    try volume.synchronizeAll()
    #expect(volume.transactions.failure == nil)
    #expect(volume.space.groups.data.groups.count < before)
    #expect(volume.brokenInvariants() == [])
    try volume.unmount()
    try CacheJudge.check(device)
  }
}
