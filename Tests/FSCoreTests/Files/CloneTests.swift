import Glibc
import TestSupport
import Testing

@testable import FSCore

/// Ranges of files that share their data with others.
@Suite(.timeLimit(.minutes(10))) struct CloneTests {
  private func volume(_ configure: (inout MakeFilesystem.Options) -> Void = { _ in }) throws
    -> Volume
  {
    try Volume.mountForTest(
      try TestImage.make { options in
        options.spaceRecord = .v2
        configure(&options)
      })
  }

  private func extents(_ volume: Volume, _ id: InodeID) throws -> [FileExtent] {
    try FilesSpaceTests.extents(volume, id)
  }

  /// A clone takes no data space; each side keeps what it has when the other changes; and what nobody
  /// has any more comes back.
  @Test func dataAreSharedUntilTheyChange() throws {
    let volume = try volume()
    var random = SeededRandom(testSeed: 401)
    let bytes = random.bytes(1_000_001)
    let file = try volume.makeFile("/file")
    try volume.writeBytes(file, at: 0, bytes)
    let clone = try volume.makeFile("/clone")
    // What is buffered belongs to it.
    try volume.cloneAll(file, to: clone)
    #expect(try volume.readBytes(clone, at: 0, count: 2 << 20) == bytes)
    try volume.synchronizeAll()
    let used = volume.usedData
    #expect(used == 1_003_520)
    #expect(
      try extents(volume, clone).map(\.item.diskAddress)
        == extents(volume, file).map(\.item.diskAddress))
    #expect(try volume.item(clone).size == 1_000_001)
    #expect(try volume.item(clone).nbytes == 1_003_520)

    try volume.writeBytes(clone, at: 409_600, [UInt8](repeating: 1, count: 8192))
    try volume.writeBytes(file, at: 5, [9])
    try volume.synchronizeAll()
    #expect(volume.usedData == used + 3 * 4096)
    var (one, other) = (bytes, bytes)
    one[5] = 9
    other.replaceSubrange(409_600..<417_792, with: [UInt8](repeating: 1, count: 8192))
    #expect(try volume.readBytes(file, at: 0, count: 2 << 20) == one)
    #expect(try volume.readBytes(clone, at: 0, count: 2 << 20) == other)

    try volume.remove("/file")
    try volume.synchronizeAll()
    #expect(try volume.readBytes(clone, at: 0, count: 2 << 20) == other)
    try volume.remove("/clone")
    try volume.synchronizeAll()
    #expect(volume.usedData == 0)
    #expect(volume.brokenInvariants() == [])
    try volume.unmount()
  }

  /// Whole blocks are shared, and the bytes before and after them copied.
  @Test func restOfACopyIsCopied() throws {
    let volume = try volume()
    var random = SeededRandom(testSeed: 402)
    let bytes = random.bytes(100_000)
    let file = try volume.makeFile("/file")
    try volume.writeBytes(file, at: 0, bytes)
    let target = try volume.makeFile("/target")
    let old = random.bytes(200_000)
    try volume.writeBytes(target, at: 0, old)
    try volume.synchronizeAll()
    let done = try volume.content.copy(file, at: 1000, to: target, at: 82_920, length: 60_000)
    #expect(done == 60_000)
    var expected = old
    expected.replaceSubrange(82_920..<142_920, with: bytes[1000..<61_000])
    #expect(try volume.readBytes(target, at: 0, count: 1 << 20) == expected)
    volume.files.flushAll()
    let shared = try extents(volume, file)[0].item.diskAddress
    let items = try extents(volume, target).filter { $0.item.diskAddress == shared }
    #expect(items.map(\.start) == [86_016] && items.map(\.item.length) == [53_248])
    // Where the places in a block differ all is copied.
    #expect(try volume.content.copy(file, at: 1, to: target, at: 0, length: 9000) == 9000)
    expected.replaceSubrange(0..<9000, with: bytes[1..<9001])
    #expect(try volume.readBytes(target, at: 0, count: 1 << 20) == expected)
    // At and behind the end there is nothing.
    #expect(try volume.content.copy(file, at: 100_000, to: target, at: 0, length: 9000) == 0)
    #expect(try volume.content.copy(file, at: 99_999, to: target, at: 0, length: 9000) == 1)
    try volume.unmount()
  }

  /// What Linux refuses, and what is refused here besides.
  @Test func refusals() throws {
    let volume = try volume()
    let file = try volume.makeFile("/file")
    try volume.writeBytes(file, at: 0, [UInt8](repeating: 3, count: 10_000))
    let target = try volume.makeFile("/target")
    try volume.writeBytes(target, at: 0, [UInt8](repeating: 4, count: 50_000))
    try volume.makeDirectory("/d")
    try volume.makeSubvolume("/v")
    try volume.makeSnapshot(of: "/v", "/r", isReadOnly: true)
    let directory = try volume.find("/d")
    let unchecked = try volume.makeFile("/unchecked")
    try volume.addFlags(unchecked, [.noDataCow, .noDataSum])
    let fixed = try volume.makeFile("/fixed")
    try volume.addFlags(fixed, .immutable)
    func error(
      _ source: InodeID, _ from: UInt64, _ target: InodeID, _ to: UInt64, _ length: UInt64?
    ) -> Int32 {
      errorNumber { try volume.content.clone(source, at: from, to: target, at: to, length: length) }
    }
    #expect(error(directory, 0, target, 0, nil) == EISDIR)
    #expect(error(file, 0, directory, 0, nil) == EISDIR)
    #expect(error(file, 1, target, 0, 4096) == EINVAL)
    #expect(error(file, 0, target, 1, 4096) == EINVAL)
    #expect(error(file, 0, target, 0, 4095) == EINVAL)
    #expect(error(file, 0, target, 0, 12288) == EINVAL)
    #expect(error(file, 12288, target, 0, nil) == EINVAL)
    #expect(error(file, 0, target, 1 << 63, 4096) == EFBIG)
    // The end of the source in the middle of the target.
    #expect(error(file, 0, target, 0, nil) == EINVAL)
    #expect(error(file, 8192, target, 40960, 1808) == EINVAL)
    #expect(error(file, 0, file, 4096, 8192) == EINVAL)
    #expect(error(file, 0, unchecked, 0, nil) == EINVAL)
    #expect(error(unchecked, 0, file, 0, nil) == EINVAL)
    #expect(error(file, 0, fixed, 0, nil) == EPERM)
    #expect(
      errorNumber { try volume.content.copy(file, at: 0, to: file, at: 5, length: 9) } == EINVAL)
    #expect(try volume.content.copy(file, at: 0, to: unchecked, at: 0, length: 1 << 20) == 10_000)
    #expect(try extents(volume, file)[0].item.diskAddress > 0)
    #expect(
      try volume.readBytes(target, at: 0, count: 1 << 20) == [UInt8](repeating: 4, count: 50_000))
    // There is nothing.
    #expect(error(file, 10_000, target, 0, nil) == 0)
    #expect(error(target, 50_000, file, 1, nil) == 0)
    #expect(error(file, 8192, target, 49_152, nil) == 0)

    try volume.makeFile("/v/f")
    try volume.makeSnapshot(of: "/v", "/r2", isReadOnly: true)
    #expect(error(file, 0, try volume.find("/r2/f"), 0, nil) == EROFS)
    try volume.unmount()
  }

  /// Small contents stand in the item of the clone, too, where Linux has them so.
  @Test func inlineExtents() throws {
    let volume = try volume()
    let small = try volume.makeFile("/small")
    let bytes = (0..<1500).map { UInt8(truncatingIfNeeded: $0) | 1 }
    try volume.writeBytes(small, at: 0, bytes)
    let clone = try volume.makeFile("/clone")
    try volume.cloneAll(small, to: clone)
    volume.files.flushAll()
    var found = try extents(volume, clone)
    #expect(found.count == 1 && found[0].isInline && found[0].inlineBytes == bytes)
    #expect(try volume.item(clone).nbytes == 1500 && volume.item(clone).size == 1500)
    // Over one that is shorter, but not into one that is longer, nor elsewhere than at its beginning.
    let shorter = try volume.makeFile("/shorter")
    try volume.writeBytes(shorter, at: 0, [1, 2, 3])
    try volume.cloneAll(small, to: shorter)
    let longer = try volume.makeFile("/longer")
    try volume.writeBytes(longer, at: 0, [UInt8](repeating: 7, count: 20_000))
    #expect(errorNumber { try volume.cloneAll(small, to: longer) } == EINVAL)
    try volume.cloneAll(small, to: longer, at: 20480)
    #expect(try volume.content.copy(small, at: 0, to: longer, at: 4096, length: 9999) == 1500)
    try volume.synchronizeAll()
    found = try extents(volume, shorter)
    #expect(found.count == 1 && found[0].isInline && found[0].inlineBytes == bytes)
    #expect(try !extents(volume, longer).contains { $0.isInline })
    var expected = [UInt8](repeating: 7, count: 20_000)
    expected.replaceSubrange(4096..<5596, with: bytes)
    expected += [UInt8](repeating: 0, count: 480) + bytes
    #expect(try volume.readBytes(longer, at: 0, count: 1 << 20) == expected)
    // A clone beyond the end of a small file.
    let grown = try volume.makeFile("/grown")
    try volume.writeBytes(grown, at: 0, [5, 5])
    try volume.synchronizeAll()
    try volume.cloneAll(longer, from: 0, to: grown, at: 8192, length: 4096)
    #expect(
      try volume.readBytes(grown, at: 0, count: 1 << 20)
        == [5, 5] + [UInt8](repeating: 0, count: 8190) + [UInt8](repeating: 7, count: 4096))
    try volume.synchronizeAll()
    #expect(try !extents(volume, grown).contains { $0.isInline })
    try volume.unmount()
  }

  /// Preallocated space stays so, and is not written to where it stands while both have it.
  @Test func preallocatedSpaceIsShared() throws {
    let volume = try volume()
    let file = try volume.makeFile("/file")
    try volume.content.allocate(file, .plain, offset: 0, length: 1 << 20)
    try volume.writeBytes(file, at: 8192, [UInt8](repeating: 1, count: 4096))
    let clone = try volume.makeFile("/clone")
    try volume.cloneAll(file, to: clone)
    #expect(try extents(volume, clone).map(\.isPreallocated) == [true, false, true])
    try volume.writeBytes(clone, at: 65536, [UInt8](repeating: 2, count: 4096))
    try volume.writeBytes(file, at: 131_072, [UInt8](repeating: 3, count: 4096))
    try volume.synchronizeAll()
    var expected = [UInt8](repeating: 0, count: 1 << 20)
    expected.replaceSubrange(8192..<12288, with: [UInt8](repeating: 1, count: 4096))
    var other = expected
    expected.replaceSubrange(131_072..<135_168, with: [UInt8](repeating: 3, count: 4096))
    other.replaceSubrange(65536..<69632, with: [UInt8](repeating: 2, count: 4096))
    #expect(try volume.readBytes(file, at: 0, count: 2 << 20) == expected)
    #expect(try volume.readBytes(clone, at: 0, count: 2 << 20) == other)
    try volume.remove("/file")
    try volume.remove("/clone")
    try volume.synchronizeAll()
    #expect(volume.usedData == 0)
    try volume.unmount()
  }

  /// Files without copy on write: what they share is not overwritten, and is again when they no longer
  /// do.
  @Test func writesInPlaceSeeTheSharing() throws {
    let volume = try volume()
    let file = try volume.makeFile("/file")
    let clone = try volume.makeFile("/clone")
    for id in [file, clone] { try volume.addFlags(id, [.noDataCow, .noDataSum]) }
    try volume.writeBytes(file, at: 0, [UInt8](repeating: 1, count: 400_000))
    try volume.synchronizeAll()
    let before = try extents(volume, file).map(\.item.diskAddress)
    // These are on their way into the extent, and still get there.
    try volume.writeBytes(file, at: 0, [UInt8](repeating: 2, count: 100_000))
    try volume.cloneAll(file, to: clone)
    #expect(try extents(volume, file).map(\.item.diskAddress) == before)
    try volume.writeBytes(file, at: 40960, [UInt8](repeating: 3, count: 40960))
    try volume.writeBytes(clone, at: 204_800, [UInt8](repeating: 4, count: 40960))
    try volume.synchronizeAll()
    let two = [UInt8](repeating: 2, count: 100_000) + [UInt8](repeating: 1, count: 300_000)
    var (one, other) = (two, two)
    one.replaceSubrange(40960..<81920, with: [UInt8](repeating: 3, count: 40960))
    other.replaceSubrange(204_800..<245_760, with: [UInt8](repeating: 4, count: 40960))
    #expect(try volume.readBytes(file, at: 0, count: 1 << 20) == one)
    #expect(try volume.readBytes(clone, at: 0, count: 1 << 20) == other)

    try volume.remove("/clone")
    try volume.synchronizeAll()
    let placed = try extents(volume, file).map(\.item.diskAddress)
    try volume.writeBytes(file, at: 0, [UInt8](repeating: 5, count: 300_000))
    try volume.synchronizeAll()
    #expect(try extents(volume, file).map(\.item.diskAddress) == placed)
    try volume.unmount()
  }

  /// Ten thousand references to one extent, or in small nodes as many as take several levels: all are
  /// counted, and all go.
  @Test(arguments: [(4096, 2500), (16384, 10_000)] as [(UInt64, UInt64)])
  func manyClonesOfOneExtent(nodeSize: UInt64, count: UInt64) throws {
    let directory = try TemporaryDirectory(inMemory: true)
    let image = directory.file("image")
    try Shell.run("truncate", "-s", "1G", image).orThrow()
    let device = try FileDevice(path: image, readOnly: false)
    var options = MakeFilesystem.Options()
    options.nodeSize = nodeSize
    options.spaceRecord = .v2
    _ = try MakeFilesystem.write(to: device, options: options)
    let volume = try Volume.mountForTest(device)
    let block = [UInt8](repeating: 7, count: 4096)
    let file = try volume.makeFile("/file")
    try volume.writeBytes(file, at: 0, block)
    try volume.synchronizeAll()
    let clone = try volume.makeFile("/clone")
    try volume.makeDirectory("/d")
    for number in 0..<count {
      let target = number % 10 == 0 ? try volume.makeFile("/d/f\(number)") : clone
      let offset = number % 10 == 0 ? 0 : number * 8192
      try volume.cloneAll(file, to: target, at: offset, length: 4096)
    }
    try volume.synchronizeAll()
    #expect(volume.usedData == 4096)
    let address = try extents(volume, file)[0].item.diskAddress
    let state = try volume.references.state(of: address, .data(length: 4096))
    #expect(state.references == count + 1)
    #expect(try volume.readBytes(clone, at: (count - 1) * 8192, count: 4096) == block)
    try volume.remove("/file")
    try volume.synchronizeAll()
    try volume.unmount()
    try ImageCheck.expectSound(image)

    let again = try Volume.mountForTest(device)
    try again.remove("/clone")
    for number in stride(from: 0, to: count, by: 10) { try again.remove("/d/f\(number)") }
    try again.synchronizeAll()
    #expect(again.usedData == 0)
    for purpose in MetadataPurpose.allCases {
      #expect(again.space.reservations.overdrafts[purpose] == 0)
    }
    try again.unmount()
    try ImageCheck.expectSound(image)
  }

  /// A file of many extents is cloned in transactions of bounded length, over one that has as many.
  @Test func manyExtents() throws {
    let volume = try volume { $0.nodeSize = 4096 }
    let file = try volume.makeFile("/file")
    let target = try volume.makeFile("/target")
    let count: UInt64 = 17_000
    for id in [file, target] {
      let block = [UInt8](repeating: id == file ? 1 : 2, count: 4096)
      for number in 0..<count { try volume.writeBytes(id, at: number * 8192, block) }
    }
    try volume.synchronizeAll()
    let (bytes, isComplete) = try volume.content.clone(file, at: 0, to: target, at: 0, length: nil)
    #expect(!isComplete && bytes >= UInt64(RangeCopier.mostItems / 2) * 8192)
    try volume.cloneAll(file, to: target)
    try volume.synchronizeAll()
    #expect(volume.usedData == count * 4096)
    for number in [0, 1, 9_999, count - 1] as [UInt64] {
      #expect(
        try volume.readBytes(target, at: number * 8192, count: 8192).prefix(4097)
          == [UInt8](repeating: 1, count: 4096) + (number < count - 1 ? [0] : []))
    }
    #expect(try extents(volume, target).count == Int(count))
    try volume.remove("/file")
    try volume.remove("/target")
    try volume.synchronizeAll()
    #expect(volume.usedData == 0)
    #expect(volume.brokenInvariants() == [])
    try volume.unmount()
  }

  /// On a full volume a clone succeeds, or ends with an error, and the volume goes on.
  @Test(arguments: [false, true]) func fullVolume(isMixed: Bool) throws {
    let volume = try Volume.mountForTest(
      try TestImage.make(sizeBytes: 256 << 20) { options in
        options.spaceRecord = .v2
        options.isMixed = isMixed
      })
    let file = try volume.makeFile("/file")
    for number in 0..<3000 as Range<UInt64> {
      try volume.writeBytes(file, at: number * 8192, [UInt8](repeating: 1, count: 4096))
    }
    _ = try FilesSpaceTests.fill(volume, try volume.makeFile("/filler"))
    try volume.synchronizeAll()
    var clones = 0
    var failure: Int32 = 0
    while failure == 0, clones < 400 {
      failure = errorNumber {
        let clone = try volume.makeFile("/clone\(clones)")
        try volume.cloneAll(file, to: clone)
      }
      clones += 1
    }
    #expect(failure == ENOSPC && (isMixed || clones > 1))
    try volume.synchronizeAll()
    #expect(volume.transactions.failure == nil)
    // The last one has what it got, and nothing else.
    for number in 0..<clones {
      guard let id = try? volume.find("/clone\(number)") else { continue }
      let size = try volume.item(id).size
      #expect(number == clones - 1 || size == 2999 * 8192 + 4096)
      for offset in stride(from: 0, to: size, by: 800 * 8192) {
        #expect(
          try volume.readBytes(id, at: offset, count: 4096) == [UInt8](repeating: 1, count: 4096))
      }
      try volume.remove("/clone\(number)")
    }
    try volume.remove("/filler")
    try volume.remove("/file")
    try volume.synchronizeAll()
    if !isMixed { #expect(volume.usedData == 0) }
    #expect(volume.brokenInvariants() == [])
    try volume.unmount()
  }

  /// A balance moves what many share, and they share it afterwards.
  @Test func balanceKeepsTheSharing() throws {
    let fixture = try NamesFixture()
    let volume = fixture.volume
    var random = SeededRandom(testSeed: 403)
    let bytes = random.bytes(600_000)
    let file = try volume.makeFile("/file")
    try volume.writeBytes(file, at: 0, bytes)
    try volume.makeSubvolume("/v")
    for number in 0..<50 {
      let id = try volume.makeFile(number % 2 == 0 ? "/f\(number)" : "/v/f\(number)")
      try volume.cloneAll(file, from: UInt64(number) * 4096, to: id, at: 0, length: 204_800)
    }
    try volume.makeSnapshot(of: "/v", "/s")
    try volume.synchronizeAll()
    let (lines, address) = (try volume.stateLines(), try extents(volume, file)[0].item.diskAddress)
    try volume.balanceAll()
    #expect(try volume.stateLines() == lines)
    let moved = try extents(volume, file)[0].item.diskAddress
    #expect(moved != address)
    for path in ["/f0", "/v/f49", "/s/f1"] {
      #expect(
        try extents(volume, try volume.find(path)).allSatisfy { $0.item.diskAddress == moved })
    }
    try fixture.unmountAndCheck()
  }
}
