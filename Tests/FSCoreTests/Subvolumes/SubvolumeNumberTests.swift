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
}
