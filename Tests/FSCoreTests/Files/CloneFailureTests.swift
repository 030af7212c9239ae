import Glibc
import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// What a copy does when something has gone wrong before it or beside it: lost data, a subvolume that
/// has become read-only, a file that has grown.
@Suite(.timeLimit(.minutes(5))) struct CloneFailureTests {
  private func makeVolume() throws -> (device: SimulatedDevice, volume: Volume) {
    let device = try SimulatedDevice(try TestImage.make { $0.spaceRecord = .v2 })
    return (device, try Volume.mountForTest(device))
  }

  /// What is lost of the source while it is written back for the copy does not go on as the old content.
  @Test(arguments: [false, true]) func lossOfTheSourceIsTold(isClone: Bool) throws {
    let (device, volume) = try makeVolume()
    let file = try volume.makeFile("/file")
    let target = try volume.makeFile("/target")
    let old = [UInt8](repeating: 1, count: 200_000)
    try volume.writeBytes(file, at: 0, old)
    try volume.writeBytes(target, at: 0, [3, 3])
    try volume.synchronizeAll()
    try volume.writeBytes(file, at: 0, [UInt8](repeating: 2, count: 131_072))
    // Tree blocks are smaller.
    device.fail(.init([.write], smallest: 65536))
    let error = errorNumber {
      if isClone {
        try volume.cloneAll(file, to: target)
      } else {
        _ = try volume.content.copy(file, at: 0, to: target, at: 0, length: 200_000)
      }
    }
    #expect(error == EIO)
    #expect(try volume.readBytes(target, at: 0, count: 9) == [3, 3])
    device.heal()
    // It is told once; what the file has now can be copied.
    try volume.cloneAll(file, to: target)
    #expect(try volume.readBytes(target, at: 0, count: 1 << 20) == old)
    try? volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    try volume.unmount()
  }

  /// An inline extent that cannot be written elsewhere keeps others from coming beside it.
  @Test func inlineExtentThatCannotGoIsAlone() throws {
    let (device, volume) = try makeVolume()
    let file = try volume.makeFile("/file")
    try volume.writeBytes(file, at: 0, [UInt8](repeating: 1, count: 65536))
    let target = try volume.makeFile("/target")
    try volume.writeBytes(target, at: 0, [3, 4, 5])
    try volume.synchronizeAll()
    device.fail(.init([.write]))
    #expect(
      errorNumber { try volume.cloneAll(file, to: target, at: 8192, length: 32768) } == EIO)
    device.heal()
    let found = try FilesSpaceTests.extents(volume, target)
    #expect(found.count == 1 && found[0].isInline)
    #expect(try volume.readBytes(target, at: 0, count: 100) == [3, 4, 5])
    try volume.cloneAll(file, to: target, at: 8192, length: 32768)
    #expect(try volume.readBytes(target, at: 0, count: 4) == [3, 4, 5, 0])
    try? volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    try volume.unmount()
  }

  /// The content of a file that asks for synchronization is another one although that fails: the count
  /// is told.
  @Test func countIsToldWhenSynchronizationFails() throws {
    let (device, volume) = try makeVolume()
    let file = try volume.makeFile("/file")
    try volume.writeBytes(file, at: 0, [UInt8](repeating: 1, count: 65536))
    let target = try volume.makeFile("/target")
    try volume.addFlags(target, .sync)
    try volume.synchronizeAll()
    device.fail(.init([.flush]))
    #expect(try volume.content.copy(file, at: 0, to: target, at: 0, length: 65536) == 65536)
    #expect(errorNumber { try volume.content.synchronize(target, dataOnly: false) } != 0)
    device.heal()
    try? volume.unmount()
  }

  /// A subvolume that becomes read-only after the files were looked at is not changed.
  @Test func readOnlyIsSeenLate() throws {
    let (_, volume) = try makeVolume()
    try volume.makeSubvolume("/v")
    let bytes = [UInt8](repeating: 1, count: 65536)
    let file = try volume.content.file(try volume.makeFile("/file"))
    let small = try volume.content.file(try volume.makeFile("/small"))
    let target = try volume.content.file(try volume.makeFile("/v/target"))
    try volume.writeBytes(file.id, at: 0, bytes)
    try volume.writeBytes(small.id, at: 0, [2, 2])
    try volume.synchronizeAll()
    target.subvolume.setReadOnly(true)
    // An inline extent, others, and bytes.
    for (source, from, to, length) in [
      (small, 0, 0, 2), (file, 0, 0, 65536), (file, 1, 0, 100),
    ] as [(Inode, UInt64, UInt64, UInt64)] {
      let range = try CopiedRange(from: from, to: to, length: length)
      let error = errorNumber {
        try InodeTable.exclusively([source, target]) { () throws(FilesystemError) in
          _ = try volume.files.copy(source, target, range, knownFailures: 0)
        }
      }
      #expect(error == EROFS, "\(length) bytes")
    }
    #expect(volume.transactions.failure == nil)
    #expect(target.fileSize == 0 && target.file.bufferedBytes == 0)
    #expect(try FilesSpaceTests.extents(volume, target.id).isEmpty)
    #expect(errorNumber { try volume.cloneAll(file.id, to: target.id) } == EROFS)
    target.subvolume.setReadOnly(false)
    try volume.cloneAll(file.id, to: target.id)
    #expect(try volume.readBytes(target.id, at: 0, count: 1 << 20) == bytes)
    try volume.unmount()
  }

  /// The end of a file is shared, too, when the file is cloned behind itself and so grows meanwhile: in
  /// one call, and in several.
  @Test(arguments: [200, 20_000] as [UInt64]) func fileBehindItself(count: UInt64) throws {
    let (_, volume) = try makeVolume()
    let file = try volume.makeFile("/file")
    for number in 0..<count {
      try volume.writeBytes(file, at: number * 8192, [UInt8](repeating: 1, count: 4096))
    }
    try volume.writeBytes(file, at: count * 8192, [UInt8](repeating: 9, count: 100))
    try volume.synchronizeAll()
    let used = volume.usedData
    let end = (count + 1) * 8192
    if count == 200 {
      let size = try volume.item(file).size
      #expect(try volume.content.copy(file, at: 0, to: file, at: end, length: size) == size)
    } else {
      try volume.cloneAll(file, to: file, at: end)
    }
    try volume.synchronizeAll()
    #expect(volume.usedData == used)
    #expect(try volume.item(file).size == end + count * 8192 + 100)
    #expect(
      try volume.readBytes(file, at: end + count * 8192 - 1, count: 4096)
        == [0] + [UInt8](repeating: 9, count: 100))
    let items = try FilesSpaceTests.extents(volume, file)
    #expect(
      items.last?.item.diskAddress == items.first { $0.start == count * 8192 }?.item.diskAddress)
    // A place in the middle that is no end, and never was.
    #expect(
      errorNumber {
        _ = try volume.content.clone(
          file, at: 0, to: file, at: 2 * end, length: 100, sourceSize: 200)
      } == EINVAL)
    try volume.synchronizeAll()
    #expect(volume.brokenInvariants() == [])
    try volume.unmount()
  }

  /// A check says what a clone would, and changes nothing; where sizes are kept nothing grows.
  @Test func checksAndKeptSizes() throws {
    let (_, volume) = try makeVolume()
    let file = try volume.makeFile("/file")
    let bytes = [UInt8](repeating: 1, count: 10_000)
    try volume.writeBytes(file, at: 0, bytes)
    let target = try volume.makeFile("/target")
    let old = [UInt8](repeating: 2, count: 50_000)
    try volume.writeBytes(target, at: 0, old)
    let unchecked = try volume.makeFile("/unchecked")
    try volume.addFlags(unchecked, [.noDataCow, .noDataSum])
    func check(_ target: InodeID, replaces: Bool) -> Int32 {
      errorNumber {
        try volume.content.checkClone(
          file, at: 0, to: target, at: 0, length: 10_000, sourceSize: 10_000, replaces: replaces)
      }
    }
    #expect(check(target, replaces: false) == EINVAL && check(target, replaces: true) == 0)
    #expect(check(unchecked, replaces: true) == EINVAL && check(file, replaces: true) == EINVAL)
    try volume.addFlags(target, .immutable)
    #expect(check(target, replaces: true) == EPERM)
    #expect(try volume.readBytes(target, at: 0, count: 1 << 20) == old)

    let empty = try volume.makeFile("/empty")
    func clone() -> Int32 {
      errorNumber {
        _ = try volume.content.clone(
          file, at: 0, to: empty, at: 0, length: 10_000, keepsSize: true)
      }
    }
    #expect(clone() == EINVAL)
    #expect(try volume.item(empty).size == 0)
    var changes = AttributeChanges()
    changes.size = 10_000
    _ = try volume.attributes.setAttributes(empty, changes)
    #expect(clone() == 0)
    #expect(try volume.readBytes(empty, at: 0, count: 1 << 20) == bytes)
    try volume.synchronizeAll()
    #expect(volume.usedData == 12288 + 53_248)
    try volume.unmount()
  }
}
