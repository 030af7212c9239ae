import TestSupport
import Testing

@testable import FSCore

/// Free space trees and block group trees that lie, under checksums that are right: one number is
/// another. FSMOUNT_FORGE=all makes every case, not the few that a seed chooses.
@Suite(.timeLimit(.minutes(5))) struct HostileRecordTests {
  struct Case {
    let field: FieldForge.Field
    let value: UInt64
    var name: String { "\(field.name) = \(value)" }
  }

  /// An image with groups of both forms.
  private static func image(
    nodeSize: UInt64 = 16384, hasBlockGroupTree: Bool = false
  ) throws -> MemoryDevice {
    let device = try TestImage.make(sizeBytes: 512 << 20) { options in
      options.nodeSize = nodeSize
      if nodeSize == 4096 { options.metadata = .single }
      options.spaceRecord = .v2
      options.hasBlockGroupTree = hasBlockGroupTree
    }
    let volume = try Volume.mountForTest(device)
    try volume.makeDirectory("d")
    for number in 0..<4 {
      let file = try volume.makeFile("d/f\(number)")
      try volume.writeBytes(
        file, at: UInt64(number) << 18, [UInt8](repeating: 7, count: 20_000 * number + 100))
    }
    try volume.writeBytes(
      volume.makeFile("/large"), at: 0, [UInt8](repeating: 5, count: 9 << 20))
    try volume.fragment("/fragments", holes: nodeSize == 4096 ? 300 : 40)
    try volume.unmount()
    return device
  }

  private static func cases(
    _ forge: FieldForge, share: Int, seed: UInt64, _ isWanted: (FieldForge.Field) -> Bool
  ) -> [Case] {
    var random = SeededRandom(testSeed: seed)
    let all = forge.fields.filter(isWanted).flatMap { field in
      forge.values(for: field).map { Case(field: field, value: $0) }
    }
    return all.filter { _ in HostileFieldTests.isExhaustive || random.oneIn(share) }
  }

  private static func state(_ device: any BlockDevice) throws -> [String] {
    let volume = try Volume.mountForTest(device) { $0.readOnly = true }
    defer { try? volume.unmount() }
    return try volume.stateLines()
  }

  /// Whatever the free space tree says: the image is mounted, nothing is allocated over, and once
  /// every group was looked at the tree is exact again.
  ///
  /// But for lies that agree with themselves and with the group's sum, such as a free range that
  /// stands elsewhere: only the extent tree tells, in place of which the tree is there. Nobody traps.
  @Test(arguments: [UInt64(16384), 4096])
  func theFreeSpaceTree(nodeSize: UInt64) throws {
    let image = try Self.image(nodeSize: nodeSize)
    let before = try Self.state(image)
    let forge = try FieldForge(image)
    let cases = Self.cases(forge, share: nodeSize == 4096 ? 200 : 50, seed: nodeSize) {
      $0.name.hasPrefix("tree 10 ")
    }
    #expect(cases.count > 3)
    for (number, lie) in cases.enumerated() {
      if HostileFieldTests.isExhaustive { HostileFieldTests().say(lie.name + "\n") }
      let device = try forge.forged([(lie.field, lie.value)])
      if try Self.isPlausible(device) {
        try HostileFieldTests().work(on: device)
        continue
      }
      #expect(try Self.state(device) == before, "\(lie.name)")
      let volume = try Volume.mountForTest(device)
      #expect(!volume.isReadOnly, "\(lie.name)")
      // Some of the groups are changed before anything of them was read.
      if number % 2 == 0 {
        for group in volume.space.groups.all { volume.space.loader.load(group) }
      }
      var work = SpaceWorkload(volume, seed: UInt64(number))
      for _ in 0..<12 { try work.step() }
      // Some seeds change nothing, and then there is no commit that could write the group anew.
      try volume.makeFile("/passing")
      try volume.remove("/passing")
      try volume.synchronizeAll()
      for group in volume.space.groups.all { volume.space.loader.load(group) }
      #expect(volume.space.groups.all.allSatisfy { $0.loading == .loaded }, "\(lie.name)")
      for path in work.files.values { try volume.remove(path) }
      try volume.unmount()
      #expect(try Self.state(device) == before, "\(lie.name)")
      // A system group is found in the extent tree; its items are looked at when it changes.
      if number % 2 == 0, !lie.field.name.contains("tree 10 header") {
        try Self.judgeOthers(device, lie.name)
      }
    }
  }

  /// Whether some group is wrong in a way that its items do not show.
  private static func isPlausible(_ device: MemoryDevice) throws -> Bool {
    let reader = try ImageReader(device: device)
    let survey = CacheSurvey(reader)
    return reader.chunks.contains { chunk in
      survey.survey(chunk, verify: false).verdict == .valid
        && survey.survey(chunk, verify: true).comparison?.agrees == false
    }
  }

  /// All groups but those of the system, of which nothing may have been looked at.
  private static func judgeOthers(_ device: MemoryDevice, _ name: String) throws {
    let reader = try ImageReader(device: device)
    let survey = CacheSurvey(reader)
    for chunk in reader.chunks where !chunk.item.flags.contains(.system) {
      let group = survey.survey(chunk, verify: true)
      #expect(group.verdict == .valid, "\(name): group \(chunk.start): \(group.reasons)")
      #expect(group.comparison?.agrees == true, "\(name)")
    }
  }

  /// Block group items in a tree of their own, root items, and what the superblock says of both
  /// trees: whatever can be mounted is worked on.
  @Test func theBlockGroupTree() throws {
    let forge = try FieldForge(Self.image(hasBlockGroupTree: true))
    let cases = Self.cases(forge, share: 25, seed: 3) { field in
      ["tree 11 ", "superblock + 0xb4", "ROOT_ITEM"].contains { field.name.contains($0) }
    }
    #expect(cases.count > 10)
    for lie in cases {
      if HostileFieldTests.isExhaustive { HostileFieldTests().say(lie.name + "\n") }
      try HostileFieldTests().work(on: forge.forged([(lie.field, lie.value)]))
    }
  }
}
