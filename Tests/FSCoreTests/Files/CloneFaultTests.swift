import Glibc
import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// Clones while the power goes, and while the device cannot be read.
@Suite(.timeLimit(.minutes(10))) struct CloneFaultTests {
  private static func populate(_ volume: Volume, _ random: inout SeededRandom) throws {
    try volume.makeSubvolume("/v")
    for number in 0..<12 {
      let path = number % 3 == 0 ? "/v/f\(number)" : "/f\(number)"
      let id = try volume.makeFile(path)
      if number == 4 || number == 6 { try volume.addFlags(id, [.noDataCow, .noDataSum]) }
      for _ in 0..<6 {
        try volume.writeBytes(
          id, at: UInt64(random.below(40)) * 8192, random.bytes(1 + random.below(30_000)))
      }
    }
  }

  private static func change(_ volume: Volume, _ random: inout SeededRandom) throws {
    for _ in 0..<8 {
      func file() throws -> InodeID {
        let number = random.below(12)
        return try volume.find(number % 3 == 0 ? "/v/f\(number)" : "/f\(number)")
      }
      let (source, target) = (try file(), try file())
      let from = UInt64(random.below(40)) * 8192
      let to = UInt64(random.below(40)) * 8192
      if source == target { continue }
      _ = try volume.content.copy(source, at: from, to: target, at: to, length: 1 << 18)
      if random.oneIn(2) {
        try volume.writeBytes(target, at: to + 4096, random.bytes(1 + random.below(9000)))
      }
      if random.oneIn(3) { try volume.writeBytes(source, at: from, random.bytes(5000)) }
      if random.oneIn(4) {
        try volume.content.allocate(source, .punchHole, offset: from, length: 20_000)
      }
    }
  }

  /// After each cut the image is sound, and has the state of one of the two commits around it.
  @Test(arguments: [
    SubvolumePowerCutTests.Variant(nodeSize: 4096, record: .v2),
    SubvolumePowerCutTests.Variant(nodeSize: 16384, record: .v1),
  ])
  func powerCuts(variant: SubvolumePowerCutTests.Variant) throws {
    print("power cuts beside clones, \(variant), seed \(TestSeed.of(441))")
    var random = SeededRandom(testSeed: 441)
    let base = try TestImage.make(sizeBytes: 512 << 20) { options in
      options.nodeSize = variant.nodeSize
      options.spaceRecord = variant.record
    }
    let device = try SimulatedDevice(base, recording: true)
    let volume = try Volume.mountForTest(device)
    try Self.populate(volume, &random)
    var states: [(lines: [String], events: Int)] = []
    for round in 0..<8 {
      if round > 0 { try Self.change(volume, &random) }
      if round == 4 { try volume.makeSnapshot(of: "/v", "/s") }
      try volume.synchronizeAll()
      states.append((try volume.stateLines(), device.recorded.count))
    }
    try volume.unmount()

    let recorded = device.recorded
    var cuts = 0
    for (number, state) in states.enumerated().dropFirst() where number != 4 {
      let first = states[number - 1].events
      let span = first...state.events
      for _ in 0..<6 {
        let cut = first + random.below(span.count)
        let image = try device.image(
          after: cut, of: recorded, density: random.below(101), random: &random)
        let what: Comment = "cut after event \(cut), between commits \(number - 1) and \(number)"
        if cuts % 3 == 0 { try CacheJudge.check(image) }
        let after = try Volume.mountForTest(image.copy())
        let found = try after.stateLines()
        if TestSeed.isThorough || cuts % 20 == 7 { try LinuxJudge.judge(image, [found], what) }
        let lines = Self.withoutOverwritten(found)
        try after.synchronizeAll()
        after.expectInvariants(what)
        try after.unmount()
        let (one, other) = (states[number - 1].lines, state.lines)
        #expect(
          lines == Self.withoutOverwritten(one) || lines == Self.withoutOverwritten(other), what)
        cuts += 1
      }
    }
    #expect(cuts > 30)
  }

  /// Of files that are overwritten where they stand a cut may show a mixture.
  private static func withoutOverwritten(_ lines: [String]) -> [String] {
    lines.filter { line in
      !["/f4 ", "/v/f6 ", "/s/f6 "].contains { line.hasPrefix($0) }
    }
  }

  /// Any read fails while a clone is made: what was done is told, and is right; all else is as it was.
  @Test func anyReadFails() throws {
    let base = try TestImage.make(sizeBytes: 512 << 20) { options in
      options.nodeSize = 4096
      options.metadata = .single
      options.spaceRecord = .v2
    }
    let extents: UInt64 = 600
    let before: [String]
    do {
      let volume = try Volume.mountForTest(base)
      for (name, byte) in [("/file", 1), ("/target", 2)] as [(String, UInt8)] {
        let id = try volume.makeFile(name)
        let block = [UInt8](repeating: byte, count: 4096)
        for number in 0..<extents { try volume.writeBytes(id, at: number * 8192, block) }
      }
      before = try volume.stateLines()
      try volume.unmount()
    }

    let blocks = try ReadFaultTests.treeBlocks(of: base)
    var number = 0
    var partial = 0
    var (rounds, aborts) = (0, 0)
    while number < 10_000 {
      let device = try SimulatedDevice(base.copy())
      let volume = try Volume.mountForTest(device)
      let (file, target) = (try volume.find("/file"), try volume.find("/target"))
      let size = try volume.item(file).size
      // As little as possible is in memory.
      for block in blocks { volume.trees.context.cache.drop(block.logical) }
      device.fail(.init([.read], after: number, times: 1))
      var done: UInt64 = 0
      let error = errorNumber {
        done = try volume.content.copy(file, at: 0, to: target, at: 0, length: size)
      }
      let isMet = device.failures > 0
      device.heal()
      let what: Comment = "read \(number) fails"
      if !isMet { #expect(error == 0 && done == size, what) }
      rounds += 1
      if done > 0, done < size { partial += 1 }
      var expected = before
      if volume.transactions.failure != nil {
        aborts += 1
        #expect(isMet, what)
      } else {
        // After an error all of the target is as it was.
        let found = try volume.readBytes(target, at: 0, count: Int(size))
        for number in 0..<extents {
          let offset = number * 8192
          let expected: UInt8 = offset < done ? 1 : 2
          guard found[Int(offset)] == expected else {
            Issue.record("byte \(offset) of \(done): \(found[Int(offset)])")
            break
          }
        }
        try volume.synchronizeAll()
        #expect(volume.brokenInvariants() == [])
        expected = try volume.stateLines()
      }
      try? volume.unmount()
      // What was not committed is as if it had never been.
      let again = try Volume.mountForTest(device)
      #expect(try again.stateLines() == expected, what)
      try again.unmount()
      if number % 8 == 0 { try CacheJudge.check(device.memory) }
      if !isMet { break }
      number += TestSeed.isThorough || number < 20 ? 1 : 1 + number / 5
    }
    print("\(rounds) reads failed, \(aborts) volumes were aborted, \(partial) clones ended early")
    #expect(number > 8 && partial > 0)
    // Nearly all is read before the first change.
    #expect(aborts * 4 <= rounds)
  }
}
