import TestSupport
import Testing

@testable import FSCore

/// What statfs(2) calls available can be written.
@Suite(.timeLimit(.minutes(10))) struct AvailableSpaceTests {
  struct Variant: Sendable, CustomTestStringConvertible {
    var name: String
    var sizeBytes: UInt64
    var isMixed = false
    var isDuplicated = false
    var hasSingleMetadata = false
    var fillsMetadata = false
    var testDescription: String { name }
  }

  /// On a fresh volume, on one that is half full, and on one from which much was deleted: one file
  /// grows until there is no room, and takes what was announced but for a fiftieth or a metadata
  /// chunk, and not much more.
  @Test(arguments: [
    Variant(name: "128 MiB", sizeBytes: 128 << 20, fillsMetadata: true),
    Variant(name: "600 MiB", sizeBytes: 600 << 20),
    Variant(name: "600 MiB, two copies of data", sizeBytes: 600 << 20, isDuplicated: true),
    Variant(name: "256 MiB mixed", sizeBytes: 256 << 20, isMixed: true),
    Variant(
      name: "128 MiB mixed, two copies", sizeBytes: 128 << 20, isMixed: true, isDuplicated: true),
    Variant(name: "256 MiB, single metadata", sizeBytes: 256 << 20, hasSingleMetadata: true),
  ])
  func availableIsWhatCanBeWritten(variant: Variant) throws {
    let device = try TestImage.make(sizeBytes: variant.sizeBytes) { options in
      options.isMixed = variant.isMixed
      if variant.isMixed { options.nodeSize = 4096 }
      if variant.isDuplicated { options.data = .dup }
      if variant.hasSingleMetadata { options.metadata = .single }
    }
    let volume = try Volume.mountForTest(device)
    try fillAndCompare(volume, variant, "fresh")

    try volume.remove("/big")
    try volume.commit()
    for number in 0..<300 {
      let id = try volume.makeFile("/f\(number)")
      try volume.writeBytes(id, at: 0, [UInt8](repeating: 3, count: 1000 + number * 200))
    }
    try volume.synchronizeAll()
    try fillAndCompare(volume, variant, "with files")

    for number in stride(from: 0, to: 300, by: 2) { try volume.remove("/f\(number)") }
    try volume.remove("/big")
    try volume.synchronizeAll()
    try fillAndCompare(volume, variant, "aged")

    if variant.fillsMetadata {
      try volume.remove("/big")
      try fillWithAttributes(volume)
      try fillAndCompare(volume, variant, "after large attributes")
    }
    try volume.unmount()
    try CacheJudge.judge(device, "\(variant.name)")
  }

  /// Gives all of the device that is free to metadata, and empties these chunks again.
  private func fillWithAttributes(_ volume: Volume) throws {
    let value = [UInt8](repeating: 1, count: 15_000)
    let before = volume.space.groups.metadata.groups.count
    var count = 0
    do {
      while true {
        let id = try volume.makeFile("/a\(count)")
        count += 1
        try volume.attributes.setAttribute(id, Array("user.a".utf8), value)
      }
    } catch FilesystemError.noSpace {
      #expect(volume.space.groups.metadata.groups.count > before)
    }
    for number in 0..<count { try volume.remove("/a\(number)") }
    try volume.synchronizeAll()
  }

  private func fillAndCompare(_ volume: Volume, _ variant: Variant, _ when: String) throws {
    let announced = try volume.statistics()
    let available = announced.availableBlocks * announced.blockSize
    let id = try volume.makeFile("/big")
    let written = try FilesSpaceTests.fill(volume, id)
    // A metadata chunk is a tenth of a small volume, and 8 MiB at least.
    let chunk = variant.isMixed ? 0 : max(variant.sizeBytes / 10, 8 << 20)
    let tolerance = max(available / 50, chunk)
    print("\(variant.name), \(when): \(available >> 10) KiB announced, \(written >> 10) written")
    #expect(written + tolerance >= available, "\(when): \(available) announced, \(written) written")
    #expect(written <= available + tolerance, "\(when): \(available) announced, \(written) written")
    try volume.synchronizeAll()
    let rest = try volume.statistics()
    #expect(rest.availableBlocks * rest.blockSize <= tolerance)
  }
}
