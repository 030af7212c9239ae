import Glibc
import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// Snapshots where there is little room, where there are many, where reads fail, and beside balances.
@Suite(.timeLimit(.minutes(10))) struct SnapshotLimitTests {
  /// Full of data and full of metadata: a snapshot is made or refused as a whole, and deletions go on.
  @Test func fullVolume() throws {
    let fixture = try NamesFixture(nodeSize: 16384, sizeBytes: 200 << 20)
    let volume = fixture.volume
    var random = SeededRandom(testSeed: 341)
    try volume.makeSubvolume("/p")
    try volume.makeDirectory("/p/d")
    var number = 0
    var isFull = false
    while !isFull {
      do {
        let id = try volume.makeFile("/p/d/f\(number)")
        let bytes = random.bytes(number % 40 == 0 ? 900_000 : 1900)
        let count = try bytes.withUnsafeBytes { try volume.content.write(id, at: 0, $0) }
        number += 1
        isFull = count < bytes.count
      } catch FilesystemError.noSpace {
        isFull = true
      }
      if number % 500 == 0 { try volume.synchronizeAll() }
    }
    try volume.synchronizeAll()
    var made = 0
    var refused = 0
    for attempt in 0..<400 where refused == 0 {
      do {
        try volume.makeSnapshot(of: "/p", "/s\(attempt)")
        made += 1
        // So that each has blocks of its own.
        for part in 0..<6 {
          let file = "/s\(attempt)/d/f\((attempt * 131 + part * 977) % number)"
          guard let id = try? volume.find(file) else { continue }
          try volume.attributes.touch(id)
        }
      } catch FilesystemError.noSpace {
        if (try? volume.find("/s\(attempt)")) == nil { refused += 1 } else { break }
      }
    }
    print("\(number) files, \(made) snapshots, \(refused) refused")
    try volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    for attempt in 0..<made + 1 where (try? volume.find("/s\(attempt)")) != nil {
      try volume.deleteSubvolume("/s\(attempt)")
    }
    #expect(volume.cleaner.wait(seconds: 120))
    try volume.deleteSubvolume("/p")
    #expect(volume.cleaner.wait(seconds: 120))
    #expect(try volume.trees.deletedSubvolumes() == [])
    try fixture.unmountAndCheck()
  }

  /// Time and memory of a snapshot do not grow with their number.
  @Test func manySnapshots() throws {
    let count = TestSeed.isThorough ? 10_000 : 1500
    let fixture = try NamesFixture(sizeBytes: 4 << 30)
    let volume = fixture.volume
    var random = SeededRandom(testSeed: 342)
    try SubvolumeDeletionTests.populate(volume, &random, files: 400)
    try volume.makeDirectory("/s")
    var times: [Double] = []
    for number in 0..<count {
      let start = ContinuousClock.now
      try volume.makeSnapshot(of: "/p", "/s/\(number)")
      times.append((ContinuousClock.now - start) / .seconds(1))
      if number % 10 == 0 { try SubvolumeDeletionTests.change(volume, "/p", &random) }
    }
    func mean(_ part: ArraySlice<Double>) -> Double { part.reduce(0, +) / Double(part.count) }
    let (early, late) = (mean(times[50..<350]), mean(times.suffix(300)))
    print("\(count) snapshots: \(early * 1000) ms each at first, \(late * 1000) ms at last")
    #expect(late < 4 * early + 0.005)
    #expect(volume.trees.openSubvolumes < 1100)
    try volume.synchronizeAll()
    for number in 0..<count where number % 3 != 0 { try volume.deleteSubvolume("/s/\(number)") }
    #expect(volume.cleaner.wait(seconds: 300))
    #expect(try volume.trees.subvolumeIDs().count == 2 + (count + 2) / 3)
    try fixture.unmountAndCheck()
  }

  /// A read that fails while a subvolume is taken apart leaves the volume as good as it was, and the
  /// next mount goes on.
  @Test func readFaults() throws {
    let base = try TestImage.make(sizeBytes: 1 << 30) { $0.nodeSize = 4096 }
    var random = SeededRandom(testSeed: 343)
    var volume = try Volume.mountForTest(base)
    try SubvolumeDeletionTests.populate(volume, &random)
    try volume.makeSnapshot(of: "/p", "/s")
    try SubvolumeDeletionTests.change(volume, "/p", &random)
    let lines = try volume.stateLines(below: "/s")
    try volume.unmount()

    for round in 0..<6 {
      let copy = try SimulatedDevice(base.copy())
      volume = try Volume.mountForTest(copy) { $0.cacheBytes = 4 << 20 }
      try volume.deleteSubvolume("/p")
      copy.fail(SimulatedDevice.Fault([.read], after: 3 + 20 * round))
      _ = volume.cleaner.wait(seconds: 1)
      copy.heal()
      let isAborted = volume.transactions.failure != nil
      if !isAborted {
        try volume.synchronizeAll()
        #expect(try volume.stateLines(below: "/s") == lines)
      }
      try? volume.unmount()
      let again = try Volume.mountForTest(copy)
      #expect(again.cleaner.wait(seconds: 60))
      #expect(try again.stateLines(below: "/s") == lines)
      try again.unmount()
    }
  }

  /// A balance of everything while snapshots are made and deleted.
  @Test func besideBalances() throws {
    let fixture = try NamesFixture(nodeSize: 4096)
    let volume = fixture.volume
    var random = SeededRandom(testSeed: 344)
    try SubvolumeDeletionTests.populate(volume, &random)
    try volume.makeSnapshot(of: "/p", "/kept", isReadOnly: true)
    let lines = try volume.stateLines(below: "/kept")
    for round in 0..<3 {
      try volume.balance.start(.all)
      var number = 0
      while !volume.balance.wait(seconds: 0.01) {
        try volume.makeSnapshot(of: "/p", "/s\(round)-\(number)")
        try SubvolumeDeletionTests.change(volume, "/s\(round)-\(number)", &random)
        if number > 0 { try volume.deleteSubvolume("/s\(round)-\(number - 1)") }
        number += 1
      }
      let outcome = volume.balance.status.outcome
      switch outcome {
      case .completed, .noSpace: break
      default: Issue.record("the balance: \(String(describing: outcome))")
      }
      print("round \(round): \(number) snapshots, \(String(describing: outcome))")
    }
    #expect(volume.cleaner.wait(seconds: 60))
    #expect(try volume.stateLines(below: "/kept") == lines)
    try volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    try fixture.unmountAndCheck()
  }
}

extension AttributeOperations {
  /// Changes an inode, and so its leaf.
  fileprivate func touch(_ id: InodeID) throws {
    var changes = AttributeChanges()
    changes.mode = 0o600
    _ = try setAttributes(id, changes)
  }
}
