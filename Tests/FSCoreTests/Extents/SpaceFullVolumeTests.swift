import TestSupport
import Testing

@testable import FSCore

/// Filling volumes to the last byte and emptying them, over and over.
@Suite(.timeLimit(.minutes(10))) struct SpaceFullVolumeTests {
  struct Variant: Sendable, CustomTestStringConvertible {
    var name: String
    var sizeBytes: UInt64
    var nodeSize: UInt64?
    var isMixed = false
    var record = MakeFilesystem.SpaceRecord.v1
    /// Bytes of a file.
    var fileSize: Int
    /// How much of the device Linux 6.18 fills with such files on an image by mkfs.btrfs that keeps the
    /// same record of free space: measured, with the same calls in the same order.
    var linuxShare: Double
    /// What part of that is to be reached at least. Where data fill the device we reach all of it, in
    /// mixed groups 0.993, each time. Where leaves of small files do, it depends on how full they become,
    /// and so on the moments at which files are written back and leaves are divided: there the bound
    /// stands well below what is seen, which is said beside it.
    var reachedPart = 0.99
    /// Whether all is written back now and then, so that little is buffered at the end.
    var syncs = true
    /// Many small files take long where nothing is optimised: other variants stand for this one in CI.
    var isForHand = false
    var testDescription: String { name }
  }

  private static let variants = [
    Variant(name: "large files", sizeBytes: 600 << 20, fileSize: 5 << 20, linuxShare: 0.867),
    Variant(name: "128 MiB", sizeBytes: 128 << 20, fileSize: 300_000, linuxShare: 0.364),
    Variant(
      name: "128 MiB mixed", sizeBytes: 128 << 20, isMixed: true, fileSize: 100_000,
      linuxShare: 0.919),
    // 1.076 to 1.094.
    Variant(
      name: "128 MiB mixed, small files", sizeBytes: 128 << 20, isMixed: true, fileSize: 1800,
      linuxShare: 0.499, reachedPart: 1),
    Variant(
      name: "small files", sizeBytes: 128 << 20, nodeSize: 4096, fileSize: 6000, linuxShare: 0.269,
      isForHand: true),
    // 0.997 to 1.003.
    Variant(
      name: "inline files", sizeBytes: 128 << 20, fileSize: 1500, linuxShare: 0.269,
      reachedPart: 0.95),
    // Here nothing but memory says when files are written back: 0.917 to 0.971.
    Variant(
      name: "inline files, buffered", sizeBytes: 128 << 20, fileSize: 1400, linuxShare: 0.251,
      reachedPart: 0.90, syncs: false),
    Variant(
      name: "small files, buffered", sizeBytes: 128 << 20, fileSize: 2500, linuxShare: 0.224,
      syncs: false, isForHand: true),
    Variant(
      name: "64 KiB nodes", sizeBytes: 256 << 20, nodeSize: 65536, fileSize: 50_000,
      linuxShare: 0.642),
    Variant(
      name: "large files, v2", sizeBytes: 600 << 20, record: .v2, fileSize: 5 << 20,
      linuxShare: 0.867),
    Variant(
      name: "mixed, v2", sizeBytes: 128 << 20, isMixed: true, record: .v2, fileSize: 100_000,
      linuxShare: 0.913),
    // 1.057.
    Variant(
      name: "inline files, v2", sizeBytes: 128 << 20, record: .v2, fileSize: 1500,
      linuxShare: 0.251, reachedPart: 0.95, isForHand: true),
  ]

  @Test(arguments: variants.filter { TestSeed.isThorough || !$0.isForHand })
  func fillAndEmpty(variant: Variant) throws {
    let device = try TestImage.make(sizeBytes: variant.sizeBytes) { options in
      options.nodeSize = variant.nodeSize
      options.isMixed = variant.isMixed
      options.spaceRecord = variant.record
    }
    var counts: [Int] = []
    // Two rounds delete in both ways; many small files take their time, so that one variant shows it
    // of them.
    let isLong = variant.fileSize < 10_000 && !TestSeed.isThorough
    for round in 0..<(isLong ? variant.name == "inline files" ? 2 : 1 : 3) {
      // A look at each of many small files would change and commit each of them for its time.
      let volume = try Volume.mountForTest(device) {
        if variant.fileSize < 10_000 { $0.accessTimes = .noatime }
      }
      let count = try fill(volume, variant, round)
      counts.append(count)
      let share = Double(count * variant.fileSize) / Double(variant.sizeBytes)
      #expect(share >= variant.linuxShare * variant.reachedPart, "round \(round)")
      try volume.synchronizeAll()
      try expectAllThere(volume, variant, round, count - 1)
      try judge(device.copy(), variant, "full, round \(round)")

      // Deleting works on a full volume, also after a mount.
      if round % 2 == 0 {
        try empty(volume, count)
        try volume.synchronizeAll()
        #expect(volume.transactions.failure == nil)
        try volume.unmount()
      } else {
        try volume.unmount()
        let again = try Volume.mountForTest(device)
        try empty(again, count)
        try again.unmount()
      }
      try judge(device, variant, "empty, round \(round)")
    }
    print("full volume, \(variant.name): \(counts) files of \(variant.fileSize) bytes")
    // What was freed can be used again: no round gets much less than the first.
    #expect(counts.allSatisfy { $0 * 100 >= counts[0] * 90 }, "\(counts)")
    try CacheJudge.check(device)
  }

  private func judge(_ device: MemoryDevice, _ variant: Variant, _ what: Comment) throws {
    switch variant.record {
    case .v1: try CacheJudge.judge(device, without: [], what)
    case .v2: try FreeSpaceTreeJudge.judge(device, what)
    }
  }

  private func fill(_ volume: Volume, _ variant: Variant, _ round: Int) throws -> Int {
    let bytes = [UInt8](repeating: UInt8(round + 1), count: variant.fileSize)
    var count = 0
    while true {
      do {
        let id = try volume.makeFile("/f\(count)")
        count += 1
        try volume.writeBytes(id, at: 0, bytes)
        if variant.syncs, count % 64 == 0 { try volume.synchronizeAll() }
      } catch FilesystemError.noSpace {
        return count
      } catch FilesystemError.corrupt("a short write") {
        return count
      }
    }
  }

  /// What was accepted is never lost for want of space.
  private func expectAllThere(
    _ volume: Volume, _ variant: Variant, _ round: Int, _ count: Int
  ) throws {
    let last = [UInt8(round + 1), UInt8(round + 1)]
    for number in 0..<count {
      let id = try volume.find("/f\(number)")
      let bytes = try volume.readBytes(id, at: UInt64(variant.fileSize - 2), count: 3)
      if bytes != last { Issue.record("/f\(number) of \(count) ends with \(bytes)") }
    }
  }

  private func empty(_ volume: Volume, _ count: Int) throws {
    for number in 0..<count {
      // The one that did not fit may not be there.
      if (try? volume.find("/f\(number)")) != nil { try volume.remove("/f\(number)") }
    }
  }
}
