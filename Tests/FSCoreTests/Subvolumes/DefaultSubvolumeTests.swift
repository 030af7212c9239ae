import Glibc
import TestSupport
import Testing

@testable import FSCore

/// The subvolume that is mounted when none is named.
@Suite(.timeLimit(.minutes(2))) struct DefaultSubvolumeTests {
  /// A tree that holds no files, or is not there, does not become the default: after that nobody could
  /// mount the image.
  @Test func otherTreesAreRefused() throws {
    let fixture = try NamesFixture()
    let volume = fixture.volume
    let gone = try volume.makeSubvolume("/gone").tree
    let kept = try volume.makeSubvolume("/kept").tree
    try volume.deleteSubvolume("/gone")
    try volume.subvolumes.setDefault(kept)
    let others: [TreeID] = [
      0, .root, .extent, .chunk, .device, 6, .checksum, .quota, .uuid, .freeSpace, .blockGroup, 255,
      .log, .relocation, .dataRelocation, TreeID(.max), 999, gone,
    ]
    for id in others {
      #expect(errorNumber { try volume.subvolumes.setDefault(id) } == ENOENT, "\(id)")
      #expect(try volume.subvolumes.defaultSubvolume() == kept)
    }
    try fixture.remount()
    #expect(fixture.root.tree == kept)
    try fixture.unmountAndCheck()
  }

  /// An image whose default is none is not mounted by default, but otherwise, and another default can be
  /// set. The reason says so.
  @Test(arguments: [7, 9, 2, 999, 0, UInt64.max - 8])
  func aWrongDefaultCanBeMended(number: UInt64) throws {
    let fixture = try NamesFixture()
    let id = TreeID(number)
    let volume = fixture.volume
    try volume.makeFile("/file")
    try volume.transactions.performUnreserved { (handle) throws(FilesystemError) in
      try DefaultSubvolume.set(id, in: volume.trees.root, handle)
      volume.trees.noteNewDefault()
    }
    do {
      try fixture.remount()
      Issue.record("mounted")
    } catch {
      for words in ["subvolume is \(id)", "-o subvolid=5", "fsmount subvolume set-default"] {
        #expect("\(error)".contains(words), "\(error)")
      }
    }
    for choice in [VolumeOptions.SubvolumeChoice.path("/"), .id(.topLevel)] {
      let mounted = try fixture.mountAgain { $0.subvolume = choice }
      #expect(mounted.readOnlyReason == nil && mounted.rootDirectory.tree == .topLevel)
      #expect(try mounted.subvolumes.defaultSubvolume() == id)
      #expect(try mounted.stateLines().count == 1)
      if choice == .id(.topLevel) { try mounted.subvolumes.setDefault(.topLevel) }
      try mounted.unmount()
    }
    _ = try fixture.mountAgain()
    #expect(fixture.root.tree == .topLevel)
    try fixture.unmountAndCheck()
  }
}
