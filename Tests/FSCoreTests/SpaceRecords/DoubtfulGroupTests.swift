import FreeSpace
import TestSupport
import Testing

@testable import FSCore

/// What the free space tree says of one block group is wrong, under right checksums: one line of the
/// log, that group's space from the extent tree, and its items written anew by the next commit.
@Suite(.timeLimit(.minutes(2))) struct DoubtfulGroupTests {
  enum Fault: CaseIterable, Sendable {
    /// The first item says that there is another range.
    case count
    /// A range is longer than it was: it covers what is in use.
    case length
    /// Nothing contradicts itself, but a range is missing.
    case sum
  }

  private static func makeImage() throws -> MemoryDevice {
    // In a large group the ranges stand as extents.
    let device = try TestImage.make(sizeBytes: 12 << 30) { $0.spaceRecord = .v2 }
    let volume = try Volume.mountForTest(device)
    try volume.writeBytes(
      volume.makeFile("/large"), at: 0, [UInt8](repeating: 1, count: 10 << 20))
    try volume.fragment("/fragments", holes: 100)
    try volume.unmount()
    return device
  }

  /// Makes the items of the group that has most ranges wrong, and returns where it begins.
  private static func damage(_ device: MemoryDevice, _ fault: Fault) throws -> LogicalAddress {
    let reader = try ImageReader(device: device)
    var leaves: [AlignedBuffer] = []
    try reader.walkBlocks(reader.root(of: .freeSpace)) { (pointer, bytes) throws(FilesystemError) in
      guard pointer.level == 0 else { return true }
      let copy = AlignedBuffer(count: bytes.count)
      copy.bytes.store(bytes, at: 0)
      leaves.append(copy)
      return true
    }
    let leaf = try #require(leaves.count == 1 ? leaves[0] : nil)
    let bytes = leaf.readable
    func header(_ slot: Int) -> Int { Format.headerSize + slot * Format.itemHeaderSize }
    func content(_ slot: Int) -> Int { Format.headerSize + Int(bytes.u32(header(slot) + 0x11)) }
    let slots = 0..<Int(bytes.u32(BlockHeader.Offset.itemCount))
    func has(_ type: ItemType, _ slot: Int) -> Bool { bytes.u8(header(slot) + 8) == type.rawValue }
    // A group's ranges, where they stand as extents, follow its own item.
    func ranges(_ info: Int) -> Int {
      slots[(info + 1)...].prefix { has(.freeSpaceExtent, $0) }.count
    }
    let infos = slots.filter { has(.freeSpaceInfo, $0) }
    let info = try #require(infos.max { ranges($0) < ranges($1) })
    let text = infos.map { "\(bytes.u32(content($0))): \(ranges($0))" }
    try #require(ranges(info) > 90 && Int(bytes.u32(content(info))) == ranges(info), "\(text)")
    let range = header(info + 20)
    switch fault {
    case .count: leaf.bytes.store(bytes.u32(content(info)) + 1, at: content(info))
    case .length: leaf.bytes.store(bytes.u64(range + 9) * 2, at: range + 9)
    case .sum:
      // Ranges have a key alone, so that only headers move up.
      for slot in info + 20..<slots.upperBound - 1 {
        leaf.bytes.store(bytes.part(header(slot + 1), Format.itemHeaderSize), at: header(slot))
      }
      leaf.bytes.store(UInt32(slots.count - 1), at: BlockHeader.Offset.itemCount)
      leaf.bytes.store(bytes.u32(content(info)) - 1, at: content(info))
    }
    let address = LogicalAddress(bytes.u64(header(info)))
    reader.geometry.checksumType.seal(leaf.bytes)
    try reader.device.write(
      leaf.readable, at: LogicalAddress(bytes.u64(BlockHeader.Offset.address)))
    return address
  }

  @Test(arguments: Fault.allCases) func oneLineAndNewItems(fault: Fault) throws {
    let device = try Self.makeImage()
    let start = try Self.damage(device, fault)
    let lines = Guarded<[String]>([], rank: .leaf)
    let volume = try Volume.mountForTest(device, log: lines)
    let doubtful = try volume.space.groups.group(containing: start)
    for group in volume.space.groups.all { volume.space.loader.load(group) }

    func warnings() -> [String] {
      lines.withLock { $0.filter { !$0.hasPrefix("info") && !$0.hasPrefix("notice") } }
    }
    #expect(warnings().count == 1, "\(warnings())")
    #expect(warnings().first?.contains("block group \(start):") == true, "\(warnings())")
    let record = try #require(volume.record as? FreeSpaceTree)
    for group in volume.space.groups.all {
      #expect(record.isDistrusted(group) == (group === doubtful))
    }
    let scan = ExtentTreeScan(extentTree: volume.trees.extent, geometry: volume.geometry)
    let expected = try scan.gaps(of: doubtful)
    let found = try #require(try doubtful.picturedFree())
    var ranges: [[UInt64]] = [[], []]
    found.forEachRange { ranges[0] += [$0, $1] }
    expected.forEachRange { ranges[1] += [$0, $1] }
    #expect(ranges[0] == ranges[1] && ranges[0].count > 180)

    try volume.makeFile("/after")
    try volume.synchronizeAll()
    #expect(!record.isDistrusted(doubtful))
    #expect(warnings().count == 1, "\(warnings())")
    #expect(volume.brokenInvariants() == [])
    try FreeSpaceTreeJudge.judge(device.copy())
    try volume.unmount()
    try CacheJudge.check(device)

    lines.withLock { $0 = [] }
    let again = try Volume.mountForTest(device, log: lines)
    for group in again.space.groups.all { again.space.loader.load(group) }
    #expect(warnings() == [])
    try again.unmount()
  }
}
