import Glibc
import TestSupport
import Testing

@testable import FSCore

/// Compressed extents that are not what their items say, under checksums that are right: an error
/// that says which, and nothing changed.
@Suite(.timeLimit(.minutes(5))) struct CompressionHostileTests {
  /// Two extents of the file `/f`, and noise in `/noise`.
  private static func image(_ option: String) throws -> MemoryDevice {
    let device = try TestImage.make(sizeBytes: 256 << 20)
    let volume = try Volume.mountForTest(device) { $0.compress(option) }
    try volume.writeBytes(try volume.makeFile("/f"), at: 0, CompressionTests.text(262_144))
    volume.files.flushAll()
    try volume.writeBytes(
      try volume.makeFile("/noise"), at: 0, CompressionTests.noise(262_144, seed: 1))
    try volume.unmount()
    return device
  }

  /// A field of the first extent of an inode.
  private static func field(
    _ forge: FieldForge, _ offset: String, of inode: Int = 257
  ) throws -> FieldForge.Field {
    try #require(
      forge.fields.first {
        $0.name.hasPrefix("tree 5 EXTENT_DATA \(inode)") && !$0.name.contains("key")
          && $0.name.hasSuffix(offset)
      })
  }

  private enum Lie: CaseIterable {
    case elsewhere, shorterOnDisk, otherAlgorithm, longerContent, shorterContent, beyondContent

    var isOfNumbers: Bool {
      self == .longerContent || self == .shorterContent || self == .beyondContent
    }
  }

  @Test(arguments: ["zstd", "zlib", "lzo"])
  func liesAreFound(option: String) throws {
    let forge = try FieldForge(Self.image(option))
    let algorithm = try #require(CompressionMethod(option: option)).algorithm
    let noise = try Self.field(forge, "+ 0x15", of: 258).value
    let onDisk = try Self.field(forge, "+ 0x1d").value
    for lie in Lie.allCases {
      let (offset, value): (String, UInt64) =
        switch lie {
        case .elsewhere: ("+ 0x15", noise)
        case .shorterOnDisk: ("+ 0x1d", onDisk - 4096)
        case .otherAlgorithm: ("+ 0x10", algorithm == .lzo ? 3 : 2)
        case .longerContent: ("+ 0x8", 1 << 20)
        case .shorterContent: ("+ 0x8", 65536)
        case .beyondContent: ("+ 0x25", 4096)
        }
      let device = try forge.forged([(try Self.field(forge, offset), value)])
      var mounted: Volume?
      defer { try? mounted?.unmount() }
      var said = ""
      do {
        let volume = try Volume.mountForTest(device)
        mounted = volume
        _ = try volume.readBytes(volume.find("/f"), at: 0, count: 262_144)
      } catch let error as FilesystemError {
        said = error.description
        // A mount that is refused says so instead.
        #expect(error.errno == (mounted == nil ? EINVAL : EUCLEAN), "\(lie): \(said)")
      }
      #expect(!said.isEmpty, "\(option): \(lie) is not found")
      // What a leaf says is held against its rules when it is read, whatever of it is wanted.
      if lie.isOfNumbers {
        #expect(said.contains("file extent") && said.contains("257 108 0"), "\(lie): \(said)")
        continue
      }

      let volume = try #require(mounted)
      let id = try volume.find("/f")
      #expect(said.contains("extent at") && said.contains("\(id)"), "\(lie): \(said)")
      // What is only partly written over cannot be had; what is whole can be replaced.
      #expect(errorNumber { try volume.writeBytes(id, at: 5000, [1, 2, 3]) } == EUCLEAN)
      #expect(volume.files.bufferedBytes == 0)
      let new = CompressionTests.noise(131_072, seed: 2)
      try volume.writeBytes(id, at: 0, new)
      volume.files.flushAll()
      let found = try volume.readBytes(id, at: 0, count: 262_144)
      let isRight = found == new + CompressionTests.text(262_144)[131_072...]
      let isNoise =
        try volume.readBytes(volume.find("/noise"), at: 0, count: 1 << 20)
        == CompressionTests.noise(262_144, seed: 1)
      #expect(isRight && isNoise, "\(option), \(lie)")
    }
  }

  /// The next extent's bytes, too: what is behind the stream is not looked at.
  @Test(arguments: ["zstd", "zlib", "lzo"])
  func moreOnDiskThanTheStream(option: String) throws {
    let forge = try FieldForge(Self.image(option))
    let field = try Self.field(forge, "+ 0x1d")
    let volume = try Volume.mountForTest(forge.forged([(field, field.value + 4096)]))
    let isSame =
      try volume.readBytes(volume.find("/f"), at: 0, count: 1 << 20)
      == CompressionTests.text(262_144)
    #expect(isSame)
    let isTooLong = try Volume.mountForTest(forge.forged([(field, 1 << 20)]))
    let code = errorNumber { try isTooLong.readBytes(isTooLong.find("/f"), at: 0, count: 4096) }
    #expect(code == EUCLEAN)
  }
}
