import Glibc
import TestSupport
import Testing

@testable import FSCore

/// Subvolumes that are found by their numbers.
@Suite(.timeLimit(.minutes(1))) struct SubvolumeNumberTests {
  /// What is deleted is the one meant, whatever its name leads to by now.
  @Test func deletedIsTheOneMeant() throws {
    let volume = try Volume.mountForTest(try TestImage.make { $0.spaceRecord = .v2 })
    try volume.makeSubvolume("/v")
    try volume.makeSubvolume("/w")
    let root = InodeID(tree: .topLevel, number: .firstFree)
    let (one, other) = (try volume.find("/v").tree, try volume.find("/w").tree)
    #expect(try !volume.subvolumes.delete(Array("v".utf8), in: root, expected: other))
    #expect(try !volume.subvolumes.delete(Array("none".utf8), in: root, expected: other))
    #expect(try volume.find("/v").tree == one)
    #expect(try volume.subvolumes.delete(other).name == Array("w".utf8))
    #expect(errorNumber { try volume.find("/w") } == ENOENT)
    try volume.unmount()
  }

  /// Two subvolumes change their names all the time, while one of them is deleted by its number.
  @Test func otherIsLeftWhileNamesChange() throws {
    let volume = try Volume.mountForTest(try TestImage.make { $0.spaceRecord = .v2 })
    let root = InodeID(tree: .topLevel, number: .firstFree)
    for round in 0..<30 {
      try volume.makeSubvolume("/a")
      try volume.makeSubvolume("/b")
      let ids = [try volume.find("/a").tree, try volume.find("/b").tree]
      let isOver = Guarded(false, rank: .leaf)
      let renamer = BackgroundThread {
        while !isOver.withLock({ $0 }) {
          // It fails when one of them is gone.
          _ = errorNumber {
            try volume.namespace.rename(
              Array("a".utf8), in: root, to: Array("b".utf8), in: root, flags: .exchange)
          }
        }
      }
      let error = errorNumber { try volume.subvolumes.delete(ids[round % 2]) }
      isOver.withLock { $0 = true }
      renamer.join()
      #expect(error == 0)
      #expect(try volume.subvolumes.record(of: ids[round % 2]) == nil, "round \(round)")
      let other = ids[1 - round % 2]
      #expect(try volume.subvolumes.record(of: other) != nil, "round \(round)")
      guard try volume.subvolumes.record(of: other) != nil else { break }
      _ = try volume.subvolumes.delete(other)
    }
    try volume.unmount()
  }

  /// Whoever asks for a subvolume's tree just when it is made gets the one that everybody has: two
  /// objects for one tree would each change it in their own way.
  @Test func newTreesAreOpenedOnce() throws {
    let volume = try Volume.mountForTest(try TestImage.make { $0.spaceRecord = .v2 })
    try volume.makeSubvolume("/v")
    let first = try volume.find("/v").tree.rawValue + 1
    let isOver = Guarded(false, rank: .leaf)
    let found = Guarded<[TreeID: [Tree]]>([:], rank: .leaf)
    // More than there are processors: the thread that makes the snapshots has to wait now and then.
    let seekers = (0..<6).map { _ in
      BackgroundThread {
        var next = first
        while !isOver.withLock({ $0 }) {
          guard let tree = try? volume.trees.subvolume(TreeID(next)) else { continue }
          found.withLock { $0[TreeID(next), default: []].append(tree) }
          next += 1
        }
      }
    }
    for number in 0..<150 { try volume.makeSnapshot(of: "/v", "/s\(number)") }
    isOver.withLock { $0 = true }
    for seeker in seekers { seeker.join() }
    for (id, found) in found.withLock({ $0 }) {
      let tree = try volume.trees.subvolume(id)
      #expect(found.allSatisfy { $0 === tree }, "tree \(id)")
    }
    try volume.unmount()
  }

  /// The numbers of children are what an image says.
  @Test func childrenOfAnyNumber() throws {
    let volume = try Volume.mountForTest(try TestImage.make { $0.spaceRecord = .v2 })
    try volume.makeSubvolume("/v")
    let one = try volume.find("/v").tree
    for number in [0, 255, UInt64.max - 1, .max] {
      try volume.transactions.performAlone(reserving: 3) { (handle) throws(FilesystemError) in
        let key = Key(ObjectID(rawValue: 5), .rootRef, number)
        try volume.trees.root.replace(key, size: 18, in: handle) { bytes in
          bytes.store(UInt64(256), at: 0)
          bytes.store(UInt64(2), at: 8)
          bytes.store(UInt16(0), at: 16)
        }
      }
    }
    let found = try volume.subvolumes.children(of: .topLevel, from: TreeID(0), atMost: 99)
    #expect(found.map(\.child) == [one])
    try? volume.unmount()
  }
}
