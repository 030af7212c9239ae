import Glibc
import TestSupport
import Testing

@testable import FSCore

/// Images that lie: one number of a record is another, and every checksum is right. Whatever can be
/// mounted is looked at and worked on. Errors are right; a trap ends the test program.
@Suite(.timeLimit(.minutes(10))) struct HostileFieldTests {
  private static func image() throws -> MemoryDevice {
    let device = try TestImage.make(sizeBytes: 256 << 20)
    let volume = try Volume.mountForTest(device)
    try volume.makeDirectory("d")
    for number in 0..<4 {
      let file = try volume.makeFile("d/f\(number)")
      try volume.writeBytes(
        file, at: UInt64(number) << 18, [UInt8](repeating: 7, count: 20_000 * number + 100))
    }
    try volume.unmount()
    return device
  }

  /// FSMOUNT_FORGE=all makes every case, not the few that a seed chooses.
  static var isExhaustive: Bool { getenv("FSMOUNT_FORGE") != nil }

  /// Superblock, chunks, devices, trees and block groups: what a mount begins with.
  private static func isLayout(_ field: FieldForge.Field) -> Bool {
    ["superblock", "tree 3 ", "tree 4 ", "ROOT_ITEM", "BLOCK_GROUP_ITEM"].contains {
      field.name.contains($0)
    }
  }

  @Test(.timeLimit(.minutes(10)))
  func layout() throws {
    let forge = try FieldForge(Self.image())
    let fields = forge.fields.filter(Self.isLayout)
    #expect(fields.count > 150)
    try run(forge, fields, share: 30, seed: 1)
  }

  /// Of several devices only one is there, so less of the superblock can be held against it.
  @Test(.timeLimit(.minutes(10)))
  func severalDevices() throws {
    let forge = try FieldForge(Self.image())
    let fields = forge.fields.filter(Self.isLayout)
    let count = try forge.field("superblock + 0x88")
    try run(forge, fields, with: [(count, 2)], share: 30, seed: 2)

    // What was seen to end the daemon.
    let total = try forge.field("superblock device + 0x8")
    for value: UInt64 in [1 << 63, .max - 65535, .max] {
      try work(on: forge.forged([(count, 2), (total, value)]))
    }
  }

  @Test(.timeLimit(.minutes(10)))
  func content() throws {
    let forge = try FieldForge(Self.image())
    let fields = forge.fields.filter { !Self.isLayout($0) }
    #expect(fields.count > 150)
    try run(forge, fields, share: 80, seed: 3)
  }

  /// Lies that agree with each other, now and then.
  @Test(.timeLimit(.minutes(10)))
  func pairs() throws {
    let forge = try FieldForge(Self.image())
    let fields = forge.fields.filter(Self.isLayout)
    var random = SeededRandom(testSeed: 4)
    for _ in 0..<(Self.isExhaustive ? 4000 : 100) {
      var changes: [(field: FieldForge.Field, value: UInt64)] = []
      for _ in 0..<random.within(2...3) {
        let field = random.pick(fields)
        changes.append((field, random.pick(forge.values(for: field))))
      }
      // The same number again where it stands elsewhere too.
      let (field, value) = changes[0]
      for other in fields where other.value == field.value && other.size == field.size {
        if field.value > 4096 { changes.append((other, value)) }
      }
      try work(on: forge, changes)
    }
  }

  /// One of `share` cases, chosen by the seed.
  private func run(
    _ forge: FieldForge, _ fields: [FieldForge.Field],
    with others: [(field: FieldForge.Field, value: UInt64)] = [], share: Int, seed: UInt64
  ) throws {
    var random = SeededRandom(testSeed: seed)
    for field in fields {
      for value in forge.values(for: field) where Self.isExhaustive || random.oneIn(share) {
        try work(on: forge, others + [(field, value)])
      }
    }
  }

  private func work(
    on forge: FieldForge, _ changes: [(field: FieldForge.Field, value: UInt64)]
  ) throws {
    if Self.isExhaustive {
      say(changes.map { "\($0.field.name) = \($0.value)" }.joined(separator: ", ") + "\n")
    }
    try work(on: forge.forged(changes))
  }

  /// Says at once which case is next: a trap leaves no time for it.
  func say(_ text: String) { _ = text.withCString { Glibc.write(2, $0, strlen($0)) } }

  /// Everything that a user may do with an image.
  func work(on device: MemoryDevice) throws {
    inspect(device)
    for isReadOnly in [true, false] {
      guard let volume = try? Volume.mountForTest(device, { $0.readOnly = isReadOnly }) else {
        continue
      }
      _ = try? volume.statistics()
      look(volume, volume.rootDirectory, depth: 0)
      if !isReadOnly { change(volume) }
      _ = try? volume.statistics()
      try? volume.unmount()
    }
    inspect(device)
  }

  private func inspect(_ device: MemoryDevice) {
    guard let reader = try? ImageReader(device: device) else { return }
    let survey = CacheSurvey(reader)
    for chunk in reader.chunks {
      _ = chunk.superblockRanges
      _ = survey.survey(chunk, verify: true, keepingEntries: true)
    }
    for tree in ItemText.trees.map(\.tree) {
      guard let root = try? reader.root(of: tree) else { continue }
      try? reader.walk(root) { (key, bytes) throws(FilesystemError) in
        _ = ItemText.key(key) + ItemText.content(key, bytes, reader.geometry)
        return true
      }
    }
  }

  private func look(_ volume: Volume, _ id: InodeID, depth: Int) {
    guard depth < 4, let item = try? volume.attributes.attributes(of: id).item else { return }
    guard item.isDirectory else {
      var offset: UInt64 = 0
      for _ in 0..<4 {
        _ = try? volume.readBytes(id, at: offset, count: 65536)
        offset = item.size / 2 &+ offset / 2
      }
      _ = try? volume.readBytes(id, at: item.size &- 5000, count: 65536)
      return
    }
    var children: [InodeID] = []
    try? volume.namespace.readDirectory(id, from: 0) { (record) throws(FilesystemError) in
      if !record.name.elementsEqual(".".utf8), !record.name.elementsEqual("..".utf8) {
        children.append(record.id)
      }
      return children.count < 100
    }
    for child in children { look(volume, child, depth: depth + 1) }
  }

  private func change(_ volume: Volume) {
    let bytes = [UInt8](repeating: 3, count: 100_000)
    if let file = try? volume.makeFile("new") { try? volume.writeBytes(file, at: 5000, bytes) }
    if let file = try? volume.find("d/f1") { try? volume.writeBytes(file, at: 300_000, bytes) }
    if let file = try? volume.find("d/f2"),
      let size = try? volume.attributes.attributes(of: file).item.size
    {
      try? volume.writeBytes(file, at: size, bytes)
    }
    try? volume.synchronizeAll()
    try? volume.remove("d/f3")
    try? volume.move("d/f0", to: "moved")
    try? volume.commit()
  }
}
