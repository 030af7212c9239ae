import Glibc
import TestSupport
import Testing

@testable import FSCore

/// When a block group's items in the free space tree become bitmaps, and extents again: Linux and we
/// do the same to two copies of an image, one range a commit around both thresholds.
@Suite(
  .enabled(if: isRoot, "SKIPPED: needs root, for loop mounts by the kernel"), .serialized,
  .timeLimit(.minutes(3)))
struct FreeSpaceTreeKernelTests {
  struct Variant: Sendable, CustomTestStringConvertible {
    var name: String
    var size: String
    var nodeSize = 16384
    /// Of the group whose space is broken up, in bytes.
    var groupLength: UInt64
    /// Written first, so that no smaller group is used.
    var filler = 0
    var testDescription: String { name }
  }

  @Test(arguments: [
    // Seen on Linux 6.18: 12 ranges make bitmaps, and no number makes extents of them.
    Variant(name: "8 MiB", size: "1120M", groupLength: 8 << 20),
    // 158 ranges make bitmaps, 56 make extents.
    Variant(name: "112 MiB", size: "1120M", groupLength: 112 << 20, filler: 12 << 20),
    Variant(
      name: "112 MiB, 4 KiB nodes", size: "1120M", nodeSize: 4096, groupLength: 112 << 20,
      filler: 12 << 20),
    // 1,439 and 1,337.
    Variant(name: "1 GiB", size: "12G", groupLength: 1 << 30, filler: 12 << 20),
  ])
  func formsChangeWhereLinuxChangesThem(variant: Variant) throws {
    let directory = try TemporaryDirectory(inMemory: true)
    let (ours, linux) = (directory.file("ours"), directory.file("linux"))
    var image = ImageVariant(name: variant.name)
    image.size = variant.size
    image.nodeSize = variant.nodeSize
    image.record = .v2
    try image.makeWithKernelTools(ours)

    let layout = FreeSpaceTreeLayout(start: 0, length: variant.groupLength, sectorSize: 4096)
    let (most, fewest) = (layout.mostExtents, layout.fewestInBitmaps)
    let group = try Self.makeBase(ours, variant, pieces: 4 * (most + 24))
    try Shell.run("cp", "--sparse=always", ours, linux).orThrow()

    let kernel = try LoopMount(
      linux, at: directory.file("mount"), options: image.kernelOptions(turn: 0))
    let file = BytePath(kernel.directory).appending("pieces")
    let descriptor = try check("open") { file.withCPath { open($0, O_RDWR) } }
    var isOpen = true
    defer { if isOpen { close(descriptor) } }
    let device = try FileDevice(path: ours, readOnly: false)
    let volume = try Volume.mountForTest(device)
    let id = try volume.find("/pieces")

    let theirs = try FileDevice(path: linux, readOnly: true)

    // What was seen of the group: its count of ranges and its form.
    var seen: [String] = []
    var forms: Set<Bool> = []
    func punch(_ piece: UInt64) throws {
      try volume.content.allocate(id, .punchHole, offset: piece * 8192, length: 4096)
      let mode = Linux.fallocatePunchHole | Linux.fallocateKeepSize
      try check("punch") { Linux.fallocate(descriptor, mode, Int(piece) * 8192, 4096) }
    }
    func compare() throws -> FreeSpaceInfo {
      try volume.synchronizeAll()
      try kernel.sync()
      let (our, their) = (try Self.info(device, group), try Self.info(theirs, group))
      #expect(our.extentCount == their.extentCount)
      #expect(
        our.usesBitmaps == their.usesBitmaps, "\(our.extentCount) ranges, after \(seen)")
      seen.append("\(their.extentCount)\(their.usesBitmaps ? "b" : "e")")
      forms.insert(their.usesBitmaps)
      return their
    }
    /// Punches pieces until there are `count` ranges; looks at each from `near` on.
    func go(from first: UInt64, to count: UInt64, lookingFrom near: UInt64) throws {
      var (piece, info) = (first, try compare())
      var ranges = UInt64(info.extentCount)
      let isUp = ranges < count
      while ranges != count {
        try punch(piece)
        piece += 2
        ranges = isUp ? ranges + 1 : ranges - 1
        guard isUp ? ranges >= near : ranges <= near else { continue }
        info = try compare()
        try #require(UInt64(info.extentCount) == ranges)
      }
    }

    let start = UInt64(try compare().extentCount)
    let peak = most + 6
    try go(from: 1, to: peak, lookingFrom: most - 2)
    #expect(forms == [false, true])
    // Pieces between two holes.
    let bottom = max(fewest, 8) - 5
    let end = max(bottom, start + 1)
    try go(from: 2, to: end, lookingFrom: fewest + 3)
    #expect(try Self.info(theirs, group).usesBitmaps == (fewest == 0))
    // And up once more, where nothing is punched yet.
    try go(from: 2 * peak + 9, to: most + 3, lookingFrom: most - 1)
    #expect(try Self.info(theirs, group).usesBitmaps)
    print("  \(variant.name): \(seen.joined(separator: " "))")

    try volume.unmount()
    close(descriptor)
    isOpen = false
    try kernel.expectCleanLog()
    try kernel.unmount()
    for image in [ours, linux] { try ImageCheck(image).expectSound() }
  }

  /// Fills the image with a file whose pieces, extents of a sector each, stand side by side in one
  /// group; returns the start of that.
  private static func makeBase(
    _ image: String, _ variant: Variant, pieces: UInt64
  ) throws -> UInt64 {
    let device = try FileDevice(path: image, readOnly: false)
    let volume = try Volume.mountForTest(device)
    if variant.filler > 0 {
      let filler = [UInt8](repeating: 1, count: variant.filler)
      try volume.writeBytes(volume.makeFile("/filler"), at: 0, filler)
      try volume.synchronizeAll()
    }
    let id = try volume.makeFile("/pieces")
    for piece in 0..<pieces {
      try volume.writeBytes(id, at: piece * 8192, [UInt8](repeating: 2, count: 4096))
    }
    try volume.synchronizeAll()
    let inode = try volume.inodes.inode(id)
    let extents = try inode.content.shared { () throws(FilesystemError) in
      try inode.extents(in: 0..<(pieces * 8192))
    }
    let places = extents.filter(\.hasData).map(\.item.diskAddress)
    let group = try volume.space.groups.group(containing: #require(places.first))
    try #require(places.count == Int(pieces) && group.length == variant.groupLength)
    for (number, place) in places.enumerated() {
      try #require(place == places[0] + UInt64(number) * 4096)
    }
    try #require(places[0] >= group.start && places[0] + pieces * 4096 < group.end)
    try volume.unmount()
    return group.start.rawValue
  }

  private static func info(_ device: FileDevice, _ group: UInt64) throws -> FreeSpaceInfo {
    let reader = try ImageReader(device: device)
    var found: FreeSpaceInfo?
    try reader.walk(reader.root(of: .freeSpace)) { (key, bytes) throws(FilesystemError) in
      if key.type == .freeSpaceInfo, key.objectID.rawValue == group {
        found = try FreeSpaceInfo(bytes)
      }
      return true
    }
    return try #require(found)
  }
}
