import Testing

@testable import FSCore

/// What is reserved for tree blocks, and what handles take from it.
@Suite(.timeLimit(.minutes(10))) struct ReservationTests {
  private func counters(_ volume: Volume) -> SpaceCounters {
    volume.space.groups.metadata.counters.withLock { $0 }
  }

  @Test(.timeLimit(.minutes(1)))
  func whatIsAllocatedIsDebited() throws {
    let volume = try Volume.mountForTest(TestImage.make())
    defer { try? volume.unmount() }
    try volume.makeFile("/a")
    try volume.commit()

    let nodeSize = volume.geometry.nodeSize
    let tree = try volume.trees.subvolume(.topLevel)
    #expect(counters(volume).reservedMetadata == 0)
    try volume.transactions.perform(reserving: 2) { (handle) throws(FilesystemError) in
      let before = counters(volume)
      #expect(before.reservedMetadata >= 2 * nodeSize)
      // The transaction's first change copies the path.
      let depth = UInt64(tree.rootState.level) + 1
      try tree.insert(Key(99999, .orphanItem, 1), size: 0, in: handle) { _ in }
      let after = counters(volume)
      #expect(after.reservedMetadata == before.reservedMetadata - depth * nodeSize)
      #expect(after.free == before.free - depth * nodeSize)
      // The second changes what is copied.
      try tree.delete(Key(99999, .orphanItem, 1), in: handle)
      #expect(counters(volume).reservedMetadata == after.reservedMetadata)
    }
    #expect(counters(volume).reservedMetadata == 0)
    for purpose in MetadataPurpose.allCases {
      #expect(volume.space.reservations.overdrafts[purpose] == 0)
    }
  }

  @Test(.timeLimit(.minutes(1)))
  func aFailedChangeGivesAllBack() throws {
    let volume = try Volume.mountForTest(TestImage.make())
    defer { try? volume.unmount() }
    #expect(throws: FilesystemError.exists) {
      try volume.transactions.perform(reserving: 5) { (_) throws(FilesystemError) in
        throw FilesystemError.exists
      }
    }
    #expect(counters(volume).reservedMetadata == 0)
  }

  /// The commit has its reserve once, however many handles it opens, and all of it again in the
  /// next transaction.
  @Test(.timeLimit(.minutes(1)))
  func theCommitHasItsReserveOnce() throws {
    let volume = try Volume.mountForTest(TestImage.make())
    defer { try? volume.unmount() }
    // Makes space allocatable, which the commit's own work does not.
    try volume.makeFile("/a")
    try volume.commit()
    let whole = volume.space.reservations.openCommitReserve()
    let nodeSize = volume.geometry.nodeSize
    #expect(whole >= 16 * nodeSize)
    let tree = try volume.trees.subvolume(.topLevel)
    try volume.transactions.performUnreserved { (handle) throws(FilesystemError) in
      try tree.insert(Key(99999, .orphanItem, 1), size: 0, in: handle) { _ in }
      try tree.delete(Key(99999, .orphanItem, 1), in: handle)
    }
    let depth = UInt64(tree.rootState.level) + 1
    #expect(volume.space.reservations.openCommitReserve() == whole - depth * nodeSize)
    #expect(counters(volume).reservedMetadata == 0)
    try volume.commit()
    #expect(volume.space.reservations.openCommitReserve() >= whole)
  }

  #if DEBUG
    @Test(.timeLimit(.minutes(1)))
    func anOverdraftTraps() async {
      await #expect(processExitsWith: .failure) {
        let volume = try Volume.mountForTest(TestImage.make())
        // One item more than two leaves' worth at each key: far beyond one item's path.
        let tree = try volume.trees.subvolume(.topLevel)
        try volume.transactions.perform(reserving: 1) { (handle) throws(FilesystemError) in
          for number in 0..<2000 {
            try tree.insert(
              Key(99999, .xattrItem, UInt64(number)), size: 3000, in: handle
            ) { $0.zero() }
          }
        }
      }
    }
  #endif
}
