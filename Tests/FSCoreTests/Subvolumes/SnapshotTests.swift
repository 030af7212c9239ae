import Glibc
import Synchronization
import TestSupport
import Testing

@testable import FSCore

/// Subvolumes and snapshots that are made here.
@Suite(.timeLimit(.minutes(10))) struct SnapshotTests {
  /// A snapshot has what was written, buffered or not, and neither side sees the other's changes.
  @Test(arguments: [4096, 16384] as [UInt64]) func snapshotsAreExact(nodeSize: UInt64) throws {
    let fixture = try NamesFixture(nodeSize: nodeSize)
    var random = SeededRandom(testSeed: 301)
    let volume = fixture.volume
    try volume.makeSubvolume("/p")
    #expect(errorNumber { try volume.makeSubvolume("/p") } == EEXIST)
    #expect(errorNumber { try volume.makeSnapshot(of: "/p", "/p") } == EEXIST)
    try volume.makeDirectory("/p/d")
    for number in 0..<300 {
      let id = try volume.makeFile("/p/d/f\(number)")
      try volume.writeBytes(id, at: 0, random.bytes(1 + random.below(20_000)))
    }
    #expect(errorNumber { try volume.makeSnapshot(of: "/p/d", "/s") } == EINVAL)
    #expect(errorNumber { try volume.makeSnapshot(of: "/p", "/none/s") } == ENOENT)

    var states: [String: [String]] = [:]
    for round in 0..<6 {
      let name = "/s\(round)"
      // Half of them stand in the source itself.
      let path = round % 2 == 0 ? name : "/p" + name
      states[path] = try volume.stateLines(below: "/p")
      try volume.makeSnapshot(of: "/p", path, isReadOnly: round % 3 == 0)
      for _ in 0..<60 {
        let target = round % 3 == 1 && random.below(2) == 0 ? path : "/p"
        let file = "\(target)/d/f\(random.below(300))"
        if target == path { states[path] = nil }
        guard let id = try? volume.find(file) else { continue }
        switch random.below(3) {
        case 0: try volume.remove(file)
        case 1: try volume.move(file, to: "\(target)/d/moved\(round)-\(random.below(1000))")
        default: try volume.writeBytes(id, at: random.below(30_000), random.bytes(5000))
        }
      }
    }
    // Of the nested ones a snapshot has but empty directories.
    func expectStates() throws {
      for (path, lines) in states {
        let isStub = { (line: String) in
          (0..<6).contains { line == "/s\($0) 40755 0 1" || line.hasPrefix("/s\($0)/") }
            || (0..<6).contains { line.hasPrefix("/s\($0) ") }
        }
        let now = try fixture.volume.stateLines(below: path).filter { !isStub($0) }
        #expect(now == lines.filter { !isStub($0) }, "\(path)")
      }
    }
    try expectStates()
    #expect(errorNumber { try volume.makeFile("/s0/new") } == EROFS)
    let before = try volume.stateLines()
    try fixture.remount()
    #expect(try fixture.volume.stateLines() == before)
    try expectStates()
    try fixture.unmountAndCheck()
    guard isRoot else { return }
    #expect(
      try KernelState.lines(of: fixture.image, in: fixture.directory, hasFreeSpaceTree: true)
        == before)
    try ImageCheck.expectSound(fixture.image)
  }

  /// Two directories between which a file moves, and a file that is overwritten in place, while
  /// snapshots are taken: in each the file is in one place, and the content never changes again.
  @Test func snapshotsBesideWriters() throws {
    let fixture = try NamesFixture()
    let volume = fixture.volume
    try volume.makeSubvolume("/p")
    try volume.makeDirectory("/p/a")
    try volume.makeDirectory("/p/b")
    for number in 0..<4 { try volume.makeFile("/p/a/m\(number)") }
    let nocow = try volume.makeFile("/p/nocow")
    try volume.addFlags(nocow, [.noDataCow, .noDataSum])
    let reserved = try volume.makeFile("/p/reserved")
    try volume.content.allocate(reserved, .plain, offset: 0, length: 8 << 20)
    let size = 1 << 20
    try volume.writeBytes(nocow, at: 0, [UInt8](repeating: 1, count: size))
    try volume.synchronizeAll()

    let isOver = Atomic<Bool>(false)
    let failure = Guarded<(any Error)?>(nil, rank: .leaf)
    func loop(_ body: @escaping @Sendable (Int) throws -> Void) -> BackgroundThread {
      BackgroundThread {
        var round = 0
        do {
          while !isOver.load(ordering: .relaxed) {
            try body(round)
            round += 1
          }
        } catch {
          failure.withLock { $0 = error }
        }
      }
    }
    let threads = [
      loop { round in
        let number = round % 4
        let (from, to) = round / 4 % 2 == 0 ? ("a", "b") : ("b", "a")
        try volume.move("/p/\(from)/m\(number)", to: "/p/\(to)/m\(number)")
      },
      loop { round in
        let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: round), count: 1 << 16)
        try volume.writeBytes(nocow, at: UInt64(round % 16) << 16, bytes)
        if round % 8 == 7 { try volume.content.synchronize(nocow, dataOnly: false) }
      },
      loop { round in
        let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: round), count: 1 << 14)
        try volume.writeBytes(reserved, at: UInt64(round % 512) << 14, bytes)
        if round % 16 == 15 { try volume.content.synchronize(reserved, dataOnly: false) }
      },
    ]
    var states: [[String]] = []
    for number in 0..<25 {
      try volume.makeSnapshot(of: "/p", "/s\(number)", isReadOnly: true)
      states.append(try volume.stateLines(below: "/s\(number)"))
      usleep(3000)
    }
    isOver.store(true, ordering: .relaxed)
    for thread in threads { thread.join() }
    if let error = failure.withLock({ $0 }) { throw error }

    try volume.synchronizeAll()
    for (number, lines) in states.enumerated() {
      #expect(try volume.stateLines(below: "/s\(number)") == lines)
      for file in 0..<4 {
        #expect(lines.count { $0.contains("/m\(file) ") } == 1, "m\(file) in s\(number)")
      }
    }
    let lines = try volume.stateLines()
    try volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    try fixture.unmountAndCheck()
    guard isRoot else { return }
    #expect(
      try KernelState.lines(of: fixture.image, in: fixture.directory, hasFreeSpaceTree: true)
        == lines)
  }

  /// A read-only subvolume gets another name, but no other directory, as with Linux.
  @Test func readOnlySubvolumesStay() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    try volume.makeSubvolume("/p")
    try volume.makeSubvolume("/q")
    try volume.makeDirectory("/d")
    try volume.makeDirectory("/d/e")
    let d = try volume.find("/d")
    try volume.subvolumes.setReadOnly(true, of: volume.find("/p"))
    func exchange(_ one: (String, InodeID), _ other: (String, InodeID)) -> Int32 {
      errorNumber {
        try volume.namespace.rename(one.0, in: one.1, to: other.0, in: other.1, flags: .exchange)
      }
    }
    #expect(errorNumber { try volume.move("/p", to: "/d/p") } == EROFS)
    #expect(exchange(("p", root), ("e", d)) == EROFS)
    #expect(exchange(("e", d), ("p", root)) == EROFS)
    #expect(exchange(("p", root), ("q", root)) == 0)
    try volume.move("/p", to: "/d/moved")
    try volume.move("/q", to: "/renamed")
    #expect(errorNumber { try volume.makeFile("/renamed/f") } == EROFS)
    try volume.makeFile("/d/moved/f")
    try fixture.unmountAndCheck()
  }

  /// A file that was open without a name is not in the snapshot.
  @Test func orphansAreLeftOut() throws {
    let fixture = try NamesFixture()
    let volume = fixture.volume
    try volume.makeSubvolume("/p")
    let id = try volume.makeFile("/p/f")
    try volume.writeBytes(id, at: 0, [UInt8](repeating: 7, count: 300_000))
    try volume.namespace.open(id)
    try volume.remove("/p/f")
    let s = try volume.makeSnapshot(of: "/p", "/s", isReadOnly: true)
    #expect(try OrphanItems.list(in: volume.trees.subvolume(s.tree), from: 0, limit: 9).isEmpty)
    #expect(try volume.readBytes(id, at: 0, count: 10) == [UInt8](repeating: 7, count: 10))
    volume.namespace.release(id)
    try fixture.unmountAndCheck()
  }
}
