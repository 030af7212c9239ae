import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// A workload runs on a device that remembers every write; then, for every flush and for random
/// subsets of the writes between two flushes, the image that a power cut would leave is mounted
/// and must hold the state of one of the two commits around the cut.
@Suite(.timeLimit(.minutes(10))) struct PowerCutTests {
  struct Variant: Sendable, CustomTestStringConvertible {
    var name: String
    var seed: UInt64
    var nodeSize: UInt64?
    var isMixed = false
    var record: MakeFilesystem.SpaceRecord?
    var hasBlockGroupTree = false
    var compression: String?
    var testDescription: String { "\(name), seed \(seed)" }
  }

  @Test(arguments: [
    Variant(name: "default", seed: 11), Variant(name: "small nodes", seed: 12, nodeSize: 4096),
    Variant(name: "mixed", seed: 13, isMixed: true),
    Variant(name: "free space tree", seed: 14, nodeSize: 4096, record: .v2),
    Variant(name: "block group tree", seed: 15, hasBlockGroupTree: true),
    Variant(name: "compressed", seed: 16, compression: "zstd"),
    Variant(name: "compressed, small nodes", seed: 17, nodeSize: 4096, compression: "lzo"),
  ])
  func everyCutHoldsTheOldOrTheNewState(variant: Variant) throws {
    print("power cut: \(variant.name), seed \(TestSeed.of(variant.seed))")
    var random = SeededRandom(testSeed: variant.seed)
    let base = try TestImage.make(sizeBytes: 2 << 30) { options in
      options.nodeSize = variant.nodeSize
      options.isMixed = variant.isMixed
      options.spaceRecord = variant.record
      options.hasBlockGroupTree = variant.hasBlockGroupTree
    }
    let hasTree = variant.record == .v2 || variant.hasBlockGroupTree
    let device = try SimulatedDevice(base, recording: true)
    let volume = try Volume.mountForTest(device) { $0.compress(variant.compression) }

    // States and how many events had happened when each was durable.
    var states: [(lines: [String], events: Int)] = [([], 0)]
    for _ in 0..<6 {
      for _ in 0..<40 { try Self.step(volume, &random) }
      try volume.synchronizeAll()
      states.append((try volume.stateLines(), device.recorded.count))
    }
    try volume.unmount()
    states.append((states.last!.lines, device.recorded.count))

    let recorded = device.recorded
    var cuts = 0
    var judged = 0
    for (number, state) in states.enumerated().dropFirst() {
      let first = states[number - 1].events
      let span = first...state.events
      let flushes = span.filter { $0 < recorded.count && recorded[$0].isFlush }
      let others = (0..<8).map { _ in first + random.below(span.count) }
      for cut in flushes + flushes.map({ $0 + 1 }) + others where cut <= recorded.count {
        for density in [0, 30, 70, 100] {
          let image = try device.image(
            after: cut, of: recorded, density: density, random: &random)
          if hasTree, number > 1 {
            try FreeSpaceTreeJudge.judge(image, "cut after event \(cut) at density \(density)")
          }
          let what: Comment =
            "cut after event \(cut) at density \(density) between commits \(number - 1) and \(number)"
          let after = try Volume.mountForTest(image.copy())
          let lines = try after.stateLines()
          try after.synchronizeAll()
          after.expectInvariants(what)
          try after.unmount()
          #expect(lines == states[number - 1].lines || lines == state.lines, what)
          // The judges take longer: all images by hand, each 40th in CI.
          if TestSeed.isThorough || cuts % 40 == 7 {
            try LinuxJudge.judge(image, [states[number - 1].lines, state.lines], what)
            judged += 1
          }
          cuts += 1
        }
      }
    }
    #expect(cuts > 100 && judged > 2)
  }

  /// One random change of a small tree.
  private static func step(_ volume: Volume, _ random: inout SeededRandom) throws {
    let path = "/d\(random.below(3))/f\(random.below(12))"
    let directory = String(path.prefix(3))
    if (try? volume.find(directory)) == nil { try volume.makeDirectory(directory) }
    let existing = try? volume.find(path)

    switch (random.below(8), existing) {
    case (0, .some): try volume.remove(path)
    case (1, .some):
      let target = "/d\(random.below(3))"
      if (try? volume.find(target)) == nil { try volume.makeDirectory(target) }
      try volume.move(path, to: target + "/f\(random.below(12))")
    case (2, .some(let id)):
      var changes = AttributeChanges()
      changes.size = random.below(200_000)
      _ = try volume.attributes.setAttributes(id, changes)
    case (_, let id):
      let file = try id ?? volume.makeFile(path)
      let count = random.below(3) == 0 ? 60_000 : 900
      let byte = UInt8(truncatingIfNeeded: random.next())
      var bytes: [UInt8] = []
      for part in 0..<(count + 511) / 512 {
        let repeated = min(512, count - bytes.count)
        bytes += [UInt8](repeating: byte &+ UInt8(truncatingIfNeeded: part), count: repeated)
      }
      try volume.writeBytes(file, at: random.below(150_000), bytes)
    }
  }
}
