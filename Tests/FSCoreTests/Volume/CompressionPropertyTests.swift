import Glibc
import TestSupport
import Testing

@testable import FSCore

/// The property `btrfs.compression`, the flags that go with it, and who takes them over: what Linux
/// 6.18 was seen to do. `FileFlagTests` of the integration tests holds mounts against each other.
@Suite(.timeLimit(.minutes(5))) struct CompressionPropertyTests {
  private let property = ExtendedAttributes.compressionProperty

  private func set(
    _ volume: Volume, _ id: InodeID, _ value: String, _ condition: AttributeCondition = .any
  ) -> Int32 {
    errorNumber {
      try volume.attributes.setAttribute(id, property, Array(value.utf8), condition)
    }
  }

  private func value(_ volume: Volume, _ id: InodeID) throws -> String? {
    do throws(FilesystemError) {
      return String(decoding: try volume.attributes.getAttribute(id, property), as: UTF8.self)
    } catch .noAttribute {
      return nil
    }
  }

  private func compression(_ volume: Volume, _ id: InodeID) throws -> InodeFlags {
    try volume.item(id).flags.intersection([.compress, .noCompress])
  }

  @Test func valuesAndFlags() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let file = try volume.file("file", in: root)
    let directory = try volume.directory("directory", in: root)
    for id in [file, directory] {
      for text in ["zlib", "lzo", "zstd", "zlib:9", "zlibfoo", "zstd:99"] {
        #expect(set(volume, id, text) == 0)
        #expect(try value(volume, id) == text && compression(volume, id) == .compress)
      }
      for text in ["zst", "ZLIB", "nonesuch", "no1", "z", " zstd"] {
        #expect(set(volume, id, text) == EINVAL)
        #expect(try value(volume, id) == "zstd:99" && compression(volume, id) == .compress)
      }
      for text in ["no", "none"] {
        #expect(set(volume, id, text) == 0)
        #expect(try value(volume, id) == text && compression(volume, id) == .noCompress)
      }
      #expect(set(volume, id, "") == 0)
      #expect(try value(volume, id) == nil && compression(volume, id) == [])
      #expect(set(volume, id, "") == 0 && set(volume, id, "", .create) == 0)
      #expect(set(volume, id, "", .replace) == ENODATA)
      #expect(set(volume, id, "lzo", .replace) == ENODATA)
      #expect(set(volume, id, "lzo", .create) == 0 && set(volume, id, "lzo", .create) == EEXIST)
      try volume.attributes.removeAttribute(id, property)
      #expect(try value(volume, id) == nil && compression(volume, id) == [])
      #expect(errorNumber { try volume.attributes.removeAttribute(id, property) } == ENODATA)
      #expect(set(volume, id, "zstd") == 0)
    }
    try fixture.remount()
    #expect(try value(fixture.volume, file) == "zstd")
    #expect(try compression(fixture.volume, directory) == .compress)
    try fixture.unmountAndCheck()
  }

  /// Bad values are refused wherever they are; good ones do nothing where there are no data.
  @Test func whatHasNoDataHasNoProperty() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let pipe = try volume.file("pipe", in: root, mode: 0o010644)
    #expect(set(volume, pipe, "bad") == EINVAL && set(volume, pipe, "zstd") == 0)
    try volume.attributes.removeAttribute(pipe, property)
    #expect(try value(volume, pipe) == nil && compression(volume, pipe) == [])

    let inPlace = try volume.file("in-place", in: root)
    let directory = try volume.directory("directory", in: root)
    for id in [inPlace, directory] {
      try volume.attributes.setFlags(id, .noDataCow, mayProtect: true)
      for text in ["zstd", "no"] { #expect(set(volume, id, text) == EINVAL) }
      #expect(set(volume, id, "") == 0)
      #expect(try value(volume, id) == nil && compression(volume, id) == [])
    }
    try fixture.unmountAndCheck()
  }

  @Test(arguments: [nil, "lzo", "zstd:9"] as [String?])
  func flagNamesTheUsualAlgorithm(option: String?) throws {
    let fixture = try NamesFixture()
    try fixture.remount { $0.compress(option, isForced: false) }
    let (volume, root) = (fixture.volume, fixture.root)
    let usual = option.map { String($0.prefix { $0 != ":" }) } ?? "zlib"
    let file = try volume.file("file", in: root)
    let directory = try volume.directory("directory", in: root)
    for id in [file, directory] {
      try volume.attributes.setFlags(id, .compress, mayProtect: true)
      #expect(try value(volume, id) == usual && compression(volume, id) == .compress)
      #expect(set(volume, id, "zlib:7") == 0)
      // As Linux has it, whatever flag is changed.
      try volume.attributes.setFlags(id, [.compress, .noAtime], mayProtect: true)
      #expect(try value(volume, id) == usual)
      try volume.attributes.setFlags(id, .noCompress, mayProtect: true)
      #expect(try value(volume, id) == nil && compression(volume, id) == .noCompress)
      try volume.attributes.setFlags(id, [], mayProtect: true)
      #expect(try compression(volume, id) == [])
    }
    try fixture.unmountAndCheck()
  }

  @Test func newInodesTakeItOver() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let cases: [(set: String, inherited: String?, flags: InodeFlags)] = [
      ("zstd", "zstd", .compress), ("zlib:9", "zlib", .compress), ("lzo:3", "lzo", .compress),
      ("no", nil, .noCompress), ("none", nil, .noCompress),
    ]
    for (number, (text, inherited, flags)) in cases.enumerated() {
      let directory = try volume.directory("d\(number)", in: root)
      #expect(set(volume, directory, text) == 0)
      let file = try volume.file("file", in: directory)
      let inner = try volume.directory("directory", in: directory)
      let deep = try volume.file("deep", in: inner)
      for id in [file, inner, deep] {
        #expect(try value(volume, id) == inherited && compression(volume, id) == flags)
      }
      let pipe = try volume.file("pipe", in: directory, mode: 0o010644)
      #expect(try volume.attributes.listAttributes(pipe).isEmpty)
      try volume.writeBytes(deep, at: 0, CompressionTests.text(100_000))
      volume.files.flush(try volume.content.file(deep))
    }
    // The image names what its files may be compressed with.
    try fixture.unmountAndCheck()
    let superblock = try Shell.run("btrfs", "inspect-internal", "dump-super", fixture.image)
      .orThrow().output
    #expect(superblock.contains("COMPRESS_LZO") && superblock.contains("COMPRESS_ZSTD"))
  }
}
