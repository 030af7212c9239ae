import TestSupport
import Testing

@testable import FSCore

/// Each stage of an ordered write by itself, and all of them with an encoder that compresses.
@Suite(.timeLimit(.minutes(10))) struct FilesStageTests {
  private let volume: Volume
  private let inode: Inode
  private let stages: OrderedWrite

  init() throws {
    volume = try Volume.mountForTest(try TestImage.make())
    inode = try volume.content.file(try volume.makeFile("/file"))
    stages = volume.files.orderedWrite
  }

  private func write(_ offset: UInt64, _ count: Int, byte: UInt8 = 7) throws {
    try volume.writeBytes(inode.id, at: offset, [UInt8](repeating: byte, count: count))
  }

  /// What is buffered, as write-back takes it.
  private func batch() throws -> WriteBatch {
    try #require(Self.batch(volume, inode))
  }

  private static func batch(_ volume: Volume, _ inode: Inode) -> WriteBatch? {
    inode.content.exclusive {
      var indexes = inode.file.dirty.keys.sorted(by: >)
      return volume.files.buffer.takeBatch(of: inode, &indexes)
    }
  }

  private func extents() throws -> [FileExtent] {
    try inode.content.shared { () throws(FilesystemError) in
      try inode.extents(in: 0..<UInt64.max)
    }
  }

  /// A piece of 128 KiB that is one sector on the device.
  private func encodedPiece(_ start: UInt64, byte: UInt8) -> EncodedPiece {
    let range = start..<(start + RunEncoder.length)
    return EncodedPiece(range, .zstd, RunEncoder.stream(byte), diskLength: 4096)
  }

  @Test(.timeLimit(.minutes(1)))
  func cutDividesByWhatStandsThere() throws {
    try volume.files.writing(inode) { () throws(FilesystemError) in
      try volume.files.preallocate(inode, at: 65536, length: 65536, keepSize: false)
    }
    let space = try #require(try extents().first { $0.isPreallocated })
    try write(4096, 200_000)
    let batch = try batch()

    let parts = try stages.cut.cut(batch, inPlace: true)
    #expect(parts.map(\.range) == [4096..<65536, 65536..<131072, 131072..<204800])
    #expect(parts[0].existing == nil && parts[2].existing == nil)
    #expect(parts[1].existing?.address == space.item.diskAddress)
    #expect(parts[1].existing?.place == .preallocated)

    stages.run(batch)
    #expect(try extents().map(\.start) == [4096, 65536, 131072])
    try volume.unmount()
  }

  @Test(.timeLimit(.minutes(1)))
  func withoutCompressionEverythingIsStoredAsItIs() throws {
    try write(0, 300_000)
    let batch = try batch()
    var pieces: [EncodedPiece] = []
    var plan = stages.encoder.plan(for: inode)
    #expect(plan == nil)
    try stages.encoder.encode(0..<303_104, of: batch, by: &plan) { pieces.append($0) }
    #expect(pieces.count == 1)
    #expect(pieces[0].range == 0..<303_104 && pieces[0].compression == .none)
    #expect(pieces[0].diskLength == 303_104 && pieces[0].fileLength == 303_104)
    guard case .buffered = pieces[0].content else { throw TestFailure("not the file's bytes") }
    stages.run(batch)
    try volume.unmount()
  }

  @Test(.timeLimit(.minutes(1)))
  func placesGoByDiskLength() throws {
    try write(0, 2 * Int(RunEncoder.length))
    let batch = try batch()
    var reserved = batch.reservedBytes
    #expect(reserved == 2 * RunEncoder.length)
    var placed: [OrderedExtent] = []
    try stages.place.place(
      encodedPiece(0, byte: 7), of: batch, reserved: &reserved, into: &placed)
    #expect(reserved == 2 * RunEncoder.length - 4096)
    #expect(placed.count == 1 && placed[0].diskLength == 4096)
    #expect(placed[0].fileLength == RunEncoder.length && placed[0].compression == .zstd)

    let second = RunEncoder.length..<(2 * RunEncoder.length)
    try stages.place.place(EncodedPiece(second), of: batch, reserved: &reserved, into: &placed)
    #expect(reserved == RunEncoder.length - 4096)
    // Right behind the first, where there is room.
    #expect(placed[1].address == placed[0].end)
    #expect(placed[1].diskLength == RunEncoder.length && placed[1].fileLength == RunEncoder.length)

    for extent in placed { stages.place.abandon(extent) }
    volume.space.reservations.releaseData(reserved)
    // The batch itself goes as one that found no extents.
    stages.complete.complete(batch, [])
    #expect(volume.space.groups.data.counters.withLock { $0.reservedData } == 0)
    try volume.unmount()
  }

  @Test(.timeLimit(.minutes(1)))
  func transferSumsWhatIsStored() throws {
    try write(0, 2 * Int(RunEncoder.length), byte: 9)
    let batch = try batch()
    var reserved = batch.reservedBytes
    var placed: [OrderedExtent] = []
    let second = RunEncoder.length..<(2 * RunEncoder.length)
    for piece in [encodedPiece(0, byte: 9), EncodedPiece(second)] {
      try stages.place.place(piece, of: batch, reserved: &reserved, into: &placed)
    }
    volume.space.reservations.releaseData(reserved)
    let written = try placed.map { try stages.transfer.transfer($0, of: batch) }

    let stream = RunEncoder.stream(9)
    defer { withExtendedLifetime(stream) {} }
    let stored = [
      [UInt8](stream.bytes.prefix(4096)),
      [UInt8](repeating: 9, count: Int(RunEncoder.length)),
    ]
    for (extent, expected) in zip(written, stored) {
      let found = AlignedBuffer(count: Int(extent.diskLength))
      try volume.device.read(into: found.bytes, at: extent.address)
      #expect([UInt8](found.bytes) == expected)
      #expect(extent.checksums.count == expected.count / 4096 * 4)
      for sector in 0..<(expected.count / 4096) {
        let isRight = extent.checksums.withUnsafeBytes { sums in
          volume.geometry.checksumType.matches(
            found.readable.part(sector * 4096, 4096), sums.part(sector * 4, 4))
        }
        #expect(isRight)
      }
    }
    stages.complete.complete(batch, written)
    #expect(
      try volume.readBytes(inode.id, at: 0, count: 1 << 20)
        == [UInt8](repeating: 9, count: 2 * Int(RunEncoder.length)))
    try volume.unmount()
  }

  /// A plan that did not help is remembered with the file, but not when somebody has asked for
  /// compression while the batch was on its way.
  @Test(.timeLimit(.minutes(1)), arguments: [false, true])
  func hopelessPlansAreRemembered(isAskedForMeanwhile: Bool) throws {
    try write(0, Int(RunEncoder.length), byte: 5)
    let batch = try batch()
    var reserved = batch.reservedBytes
    var placed: [OrderedExtent] = []
    try stages.place.place(
      EncodedPiece(0..<RunEncoder.length), of: batch, reserved: &reserved, into: &placed)
    volume.space.reservations.releaseData(reserved)
    let written = try placed.map { try stages.transfer.transfer($0, of: batch) }
    let plan = CompressionPlan(
      method: CompressionMethod(.lzo, level: nil), isForced: false, isRemembered: true,
      isHopeless: true, flags: [])
    if isAskedForMeanwhile { inode.item.withLock { _ = $0.flags.insert(.compress) } }
    stages.complete.complete(batch, written, plan)
    let flags = inode.item.withLock { $0.flags }
    #expect(flags.contains(.noCompress) == !isAskedForMeanwhile)
    try volume.unmount()
  }

  @Test(.timeLimit(.minutes(1)), arguments: [false, true])
  func completionCountsByFileLength(isCutMeanwhile: Bool) throws {
    try write(0, Int(RunEncoder.length), byte: 5)
    let batch = try batch()
    var reserved = batch.reservedBytes
    var placed: [OrderedExtent] = []
    try stages.place.place(
      encodedPiece(0, byte: 5), of: batch, reserved: &reserved, into: &placed)
    volume.space.reservations.releaseData(reserved)
    let written = try placed.map { try stages.transfer.transfer($0, of: batch) }
    let size: UInt64 = isCutMeanwhile ? 40960 : RunEncoder.length
    // As a truncation does it before it waits for what is on its way.
    inode.content.exclusive { inode.setFileSize(size) }
    stages.complete.complete(batch, written)

    let found = try extents()
    #expect(found.count == 1)
    let item = found[0].item
    #expect(item.kind == .regular && item.compression == .zstd && item.offset == 0)
    #expect(item.diskAddress == placed[0].address && item.diskLength == 4096)
    #expect(item.ramBytes == RunEncoder.length && item.length == size)
    #expect(inode.attributes.nbytes == size)
    #expect(
      try volume.readBytes(inode.id, at: 0, count: 1 << 20)
        == [UInt8](repeating: 5, count: Int(size)))
    volume.files.checkInvariants(turn: 0)
    #expect(inode.file.bufferedBytes == 0)
    try volume.unmount()
  }

  private static let isPossible = isRoot && Shell.find("mkfs.btrfs") != nil

  /// No second path: with another encoder the same stages write compressed files, that `btrfs
  /// check` and Linux read.
  @Test(
    .enabled(if: isPossible, "SKIPPED: needs root, for loop mounts by the kernel"),
    .timeLimit(.minutes(2)))
  func anotherEncoderIsAllThatCompressionNeeds() throws {
    let fixture = try NamesFixture()
    let volume = fixture.volume
    let inode = try volume.content.file(try volume.makeFile("/file"))
    let usual = volume.files.orderedWrite
    let stages = OrderedWrite(
      cut: usual.cut, encoder: RunEncoder(), place: usual.place, transfer: usual.transfer,
      complete: usual.complete, transactions: volume.transactions, failures: usual.failures)

    var random = SeededRandom(testSeed: 3)
    var content = [UInt8](repeating: 1, count: 131_072)
    content += (0..<131_072).map { _ in UInt8.random(in: 0...255, using: &random) }
    content += [UInt8](repeating: 2, count: 262_144) + [UInt8](repeating: 3, count: 5000)
    try volume.writeBytes(inode.id, at: 0, content)
    stages.run(try #require(Self.batch(volume, inode)))
    let compressed = try inode.content.shared { () throws(FilesystemError) in
      try inode.extents(in: 0..<UInt64.max).filter { $0.item.compression == .zstd }
    }
    #expect(compressed.map(\.start) == [0, 262_144, 393_216])
    #expect(compressed.allSatisfy { $0.item.diskLength == 4096 })
    #expect(inode.attributes.nbytes == 131_072 * 4 + 8192)
    #expect(try volume.readBytes(inode.id, at: 0, count: 1 << 20) == content)

    // A piece in the middle of a compressed extent is written as ever.
    try volume.writeBytes(inode.id, at: 300_000, [4, 4, 4])
    content.replaceSubrange(300_000..<300_003, with: [4, 4, 4])
    #expect(try volume.readBytes(inode.id, at: 0, count: 1 << 20) == content)
    try fixture.unmountAndCheck()

    let mountPoint = try fixture.directory.directory("mount")
    let kernel = try LoopMount(fixture.image, at: mountPoint)
    let found = try readFile(BytePath(mountPoint + "/file"))
    try kernel.unmount()
    #expect(found == content)
  }
}

/// Compresses what is one byte over and over: pieces of 128 KiB become a zstd frame of one block.
private struct RunEncoder: PieceEncoder {
  static let length: UInt64 = 131_072

  /// A sector that begins with the frame for 128 KiB of `byte` (RFC 8878: a frame header with the
  /// content's size, and one last block that is a run).
  static func stream(_ byte: UInt8) -> AlignedBuffer {
    let buffer = AlignedBuffer(zeroed: 4096)
    let magic: [UInt8] = [0x28, 0xb5, 0x2f, 0xfd]
    let header: [UInt8] = [0xa0, 0x00, 0x00, 0x02, 0x00]
    let block = UInt32(length) << 3 | 1 << 1 | 1
    buffer.bytes.store(magic + header, at: 0)
    buffer.bytes.store(block, at: 9)
    buffer.bytes.store(byte, at: 12)
    return buffer
  }

  func plan(for inode: Inode) -> CompressionPlan? { nil }

  func encode(
    _ part: Range<UInt64>, of batch: borrowing WriteBatch, by plan: inout CompressionPlan?,
    _ body: (EncodedPiece) throws(FilesystemError) -> Void
  ) throws(FilesystemError) {
    var start = part.lowerBound
    while start < part.upperBound {
      let range = start..<min(start + Self.length, part.upperBound)
      if range.upperBound - start == Self.length, let byte = try onlyByte(range, batch) {
        try body(EncodedPiece(range, .zstd, Self.stream(byte), diskLength: 4096))
      } else {
        try body(EncodedPiece(range))
      }
      start = range.upperBound
    }
  }

  private func onlyByte(
    _ range: Range<UInt64>, _ batch: borrowing WriteBatch
  ) throws(FilesystemError) -> UInt8? {
    var seen: Set<UInt8> = []
    try batch.forEachPiece(of: range) { (_, bytes) throws(FilesystemError) in
      seen.formUnion(bytes)
    }
    return seen.count == 1 ? seen.first : nil
  }
}

extension FileStore {
  /// Runs `body` as an operation that changes the file's extents does.
  fileprivate func writing(
    _ inode: Inode, _ body: () throws(FilesystemError) -> Void
  ) throws(FilesystemError) {
    try inode.lock.exclusive(body)
  }
}
