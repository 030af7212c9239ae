import Testing

@testable import FSCore

#if DEBUG
  /// The checker of locks itself: what is right passes, and each kind of mistake traps.
  @Suite(.timeLimit(.minutes(1))) struct HeldLocksTests {
    private static let first = InodeID(tree: .topLevel, number: 300)
    private static let second = InodeID(tree: .topLevel, number: 301)

    /// Expects that a process that does `mistake` ends, saying `message`.
    private func expectTrap(
      _ message: String, _ result: ExitTest.Result?,
      sourceLocation: SourceLocation = #_sourceLocation
    ) {
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.contains(message), "\(text.prefix(2000))", sourceLocation: sourceLocation)
    }

    @Test func theRightOrderPasses() {
      let inodes = [Self.first, Self.second].map { ReadWriteLock(rank: .inode, order: $0) }
      let tree = ReadWriteLock(rank: .tree)
      let extentTree = ReadWriteLock(rank: .extentTree)
      inodes[0].exclusive {
        inodes[1].shared {
          tree.exclusive {
            tree.assertHeld()
            tree.assertHeldExclusively()
            extentTree.shared {
              extentTree.assertHeld()
              HeldLocks.assertMayUseDevice()
              HeldLocks.assertMayWait(below: .delayedReferences)
            }
          }
          HeldLocks.assertMayUseDevice()
        }
      }
      // What was let go of is out of the way, in whatever order.
      inodes[0].lockShared()
      inodes[1].lockShared()
      inodes[0].unlock()
      inodes[1].unlock()
      #expect(inodes[0].tryLockShared())
      inodes[0].unlock()
      #expect(!tree.isHeld(exclusively: false))
    }

    /// A lock that is not waited for may be taken in any order.
    @Test func aTriedLockHasNoOrder() {
      let tree = ReadWriteLock(rank: .tree)
      let content = ReadWriteLock(rank: .fileContent)
      let leaf = Guarded(0, rank: .leaf)
      tree.shared {
        #expect(content.tryLockShared())
        leaf.withLock { $0 += 1 }
        content.unlock()
      }
    }

    @Test func aLowerRankTraps() async {
      let result = await #expect(
        processExitsWith: .failure, observing: [\.standardErrorContent]
      ) {
        ReadWriteLock(rank: .tree).shared { Guarded(0, rank: .commit).withLock { $0 += 1 } }
      }
      expectTrap("lock order: commit  taken while holding tree", result)
    }

    /// The one that is waited for counts, whatever was tried since.
    @Test func aLowerRankBehindATriedLockTraps() async {
      let result = await #expect(
        processExitsWith: .failure, observing: [\.standardErrorContent]
      ) {
        ReadWriteLock(rank: .tree).shared {
          _ = ReadWriteLock(rank: .inode).tryLockShared()
          Guarded(0, rank: .commit).withLock { $0 += 1 }
        }
      }
      expectTrap("lock order: commit  taken while holding tree", result)
    }

    @Test func theSameRankTraps() async {
      let result = await #expect(
        processExitsWith: .failure, observing: [\.standardErrorContent]
      ) {
        ReadWriteLock(rank: .tree).shared { ReadWriteLock(rank: .tree).lockShared() }
      }
      expectTrap("lock order: tree  taken while holding tree", result)
    }

    @Test func inodesInDescendingOrderTrap() async {
      let result = await #expect(
        processExitsWith: .failure, observing: [\.standardErrorContent]
      ) {
        ReadWriteLock(rank: .inode, order: HeldLocksTests.second).shared {
          ReadWriteLock(rank: .inode, order: HeldLocksTests.first).lockExclusive()
        }
      }
      expectTrap("lock order: inode", result)
    }

    @Test func aLockThatIsNotHeldTraps() async {
      let result = await #expect(
        processExitsWith: .failure, observing: [\.standardErrorContent]
      ) {
        ReadWriteLock(rank: .fileContent).assertHeld()
      }
      expectTrap("fileContent is not held", result)
    }

    @Test func aSharedLockIsNotAnExclusiveOne() async {
      let result = await #expect(
        processExitsWith: .failure, observing: [\.standardErrorContent]
      ) {
        let lock = ReadWriteLock(rank: .fileContent)
        lock.shared { lock.assertHeldExclusively() }
      }
      expectTrap("fileContent is not held exclusively", result)
    }

    @Test func waitingWithALockOfTheRankTraps() async {
      let result = await #expect(
        processExitsWith: .failure, observing: [\.standardErrorContent]
      ) {
        ReadWriteLock(rank: .tree).shared { HeldLocks.assertMayWait(below: .commit) }
      }
      expectTrap("waiting for commit while holding tree", result)
    }

    @Test func theDeviceUnderATreesLockTraps() async {
      let result = await #expect(
        processExitsWith: .failure, observing: [\.standardErrorContent]
      ) {
        let devices = DeviceSet(MemoryDevice(sizeBytes: 1 << 20), id: 1)
        let sector = AlignedBuffer(zeroed: 4096)
        let place = DeviceAddress(device: 1, offset: 0)
        try devices.read(into: sector.bytes, at: place)
        try ReadWriteLock(rank: .tree).shared { () throws(FilesystemError) in
          try devices.read(into: sector.bytes, at: place)
        }
      }
      expectTrap("the device is used while a tree is locked", result)
    }

    @Test func theDeviceUnderAShortLockTraps() async {
      let result = await #expect(
        processExitsWith: .failure, observing: [\.standardErrorContent]
      ) {
        let devices = DeviceSet(MemoryDevice(sizeBytes: 1 << 20), id: 1)
        try Guarded((), rank: .chunkMap).withLock { _ throws(FilesystemError) in
          try devices.flush()
        }
      }
      expectTrap("the device is used while chunkMap is held", result)
    }
  }
#endif
