import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// The power goes while subvolumes and snapshots are made, deleted and taken apart.
@Suite(.timeLimit(.minutes(10))) struct SubvolumePowerCutTests {
  struct Variant: Sendable, CustomTestStringConvertible {
    var nodeSize: UInt64
    var record: MakeFilesystem.SpaceRecord
    var testDescription: String { "nodes of \(nodeSize) bytes, \(record)" }
  }

  /// After each cut the image is sound, has the state of one of the two commits around it, and what was
  /// being deleted goes.
  @Test(arguments: [
    Variant(nodeSize: 4096, record: .v2), Variant(nodeSize: 16384, record: .v1),
  ])
  func cuts(variant: Variant) throws {
    print("power cuts beside snapshots, \(variant), seed \(TestSeed.of(331))")
    var random = SeededRandom(testSeed: 331)
    let base = try TestImage.make(sizeBytes: 1 << 30) { options in
      options.nodeSize = variant.nodeSize
      options.spaceRecord = variant.record
    }
    let device = try SimulatedDevice(base, recording: true)
    let volume = try Volume.mountForTest(device)
    try SubvolumeDeletionTests.populate(volume, &random)

    // Each step is followed by a commit, or is one.
    var states: [(lines: [String], events: Int)] = []
    func note() throws {
      try volume.synchronizeAll()
      states.append((try volume.stateLines(), device.recorded.count))
    }
    try note()
    try volume.makeSnapshot(of: "/p", "/s1")
    try note()
    try SubvolumeDeletionTests.change(volume, "/p", &random)
    try note()
    try volume.makeSubvolume("/new")
    try note()
    try volume.makeSnapshot(of: "/s1", "/p/s2", isReadOnly: true)
    try note()
    // Nothing of it is freed before the commit of its deletion.
    let held = try SubvolumeDeletionTests.anyFile(volume, "/s1")
    try volume.namespace.open(held)
    try volume.deleteSubvolume("/s1")
    try note()
    volume.namespace.release(held)
    while !volume.cleaner.wait(seconds: 0.003) { try volume.commit() }
    try note()
    try volume.deleteSubvolume("/p/s2")
    try volume.deleteSubvolume("/p")
    try note()
    while !volume.cleaner.wait(seconds: 0.003) { try volume.commit() }
    try note()
    try volume.unmount()

    let recorded = device.recorded
    var cuts = 0
    var resumed = 0
    for (number, state) in states.enumerated().dropFirst() {
      let first = states[number - 1].events
      let span = first...state.events
      guard span.count > 1 else { continue }
      let points = (0..<6).map { _ in first + random.below(span.count) }
      for cut in points where cut <= recorded.count {
        let image = try device.image(
          after: cut, of: recorded, density: random.below(101), random: &random)
        let what: Comment = "cut after event \(cut), between commits \(number - 1) and \(number)"
        if cuts % 4 == 0 {
          let directory = try TemporaryDirectory(inMemory: true)
          let path = directory.file("image")
          try image.save(to: path)
          #expect(throws: Never.self, what) { try ImageCheck.expectSound(path) }
        }
        if TestSeed.isThorough || cuts % 16 == 6 {
          try LinuxJudge.judge(image, [states[number - 1].lines, state.lines], what)
        }
        let after = try Volume.mountForTest(image)
        if after.cleaner.quietCount != 0 { resumed += 1 }
        #expect(after.cleaner.wait(seconds: 60), what)
        let lines = try after.stateLines()
        try after.synchronizeAll()
        after.expectInvariants(what)
        #expect(try after.trees.deletedSubvolumes() == [])
        try after.unmount()
        #expect(lines == states[number - 1].lines || lines == state.lines, what)
        if cuts % 4 == 1 {
          let directory = try TemporaryDirectory(inMemory: true)
          let path = directory.file("image")
          try image.save(to: path)
          #expect(throws: Never.self, what) { try ImageCheck.expectSound(path) }
        }
        cuts += 1
      }
    }
    #expect(cuts > 30 && resumed > 0)
  }
}
