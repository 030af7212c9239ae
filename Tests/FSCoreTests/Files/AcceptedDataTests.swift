import Glibc
import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// Data that were accepted are never lost for want of space, whatever takes space afterwards.
@Suite(.timeLimit(.minutes(10))) struct AcceptedDataTests {
  private func counters(_ members: BlockGroupClass) -> SpaceCounters {
    members.counters.withLock { $0 }
  }

  /// A volume that writes nothing back by itself while these tests buffer.
  private func mount(
    _ device: any BlockDevice, cacheBytes: UInt64 = 512 << 20
  ) throws -> Volume {
    try Volume.mountForTest(device) { $0.cacheBytes = cacheBytes }
  }

  /// Makes a data chunk, so that nothing is written back for want of one.
  private func makeRoomForData(_ volume: Volume, _ bytes: UInt64) throws {
    let id = try volume.makeFile("/room")
    try volume.content.allocate(id, .plain, offset: 0, length: bytes)
    try volume.remove("/room")
    try volume.commit()
  }

  /// Makes symbolic links, whose targets take most room for the least work, and then empty files with
  /// long names, until there is no room for their items.
  private func fillMetadata(_ volume: Volume) throws -> Int {
    let name = String(repeating: "n", count: 230)
    let target = [UInt8](repeating: UInt8(ascii: "t"), count: 3800)
    var count = 0
    for isLink in [true, false] {
      do {
        while true {
          if isLink {
            _ = try volume.namespace.makeSymbolicLink(
              Array("link\(count)".utf8), in: volume.rootDirectory, target: target, Volume.testOwner
            )
          } else {
            try volume.makeFile("/\(name)\(count)")
          }
          count += 1
        }
      } catch FilesystemError.noSpace {}
    }
    return count
  }

  /// What is refused for want of space has zeroed nothing, at the edges neither.
  @Test func aRefusedZeroRangeChangesNothing() throws {
    let volume = try mount(try TestImage.make(sizeBytes: 256 << 20))
    let id = try volume.makeFile("/file")
    let bytes = [UInt8](repeating: 7, count: 8192)
    try volume.writeBytes(id, at: 0, bytes)
    let code = errorNumber {
      try volume.content.allocate(id, .zeroRange, offset: 100, length: 1 << 30)
    }
    #expect(code == ENOSPC)
    #expect(try volume.readBytes(id, at: 0, count: 16_384) == bytes)
    try volume.unmount()
  }

  /// Many small files are buffered; then others take all the metadata space that is to be had.
  @Test(arguments: [700, 2000, 3000])
  func namesLeaveRoomForBufferedFiles(size: Int) throws {
    let device = try TestImage.make(sizeBytes: 128 << 20)
    let volume = try mount(device)
    try makeRoomForData(volume, 40 << 20)
    var files: [InodeID] = []
    for number in 0..<2500 {
      let id = try volume.makeFile("/f\(number)")
      try volume.writeBytes(id, at: 0, [UInt8](repeating: UInt8(number % 250 + 1), count: size))
      files.append(id)
    }
    #expect(counters(volume.space.groups.metadata).reservedItems > 2000 * 2304)
    #expect(try fillMetadata(volume) > 100)
    try volume.synchronizeAll()
    #expect(counters(volume.space.groups.metadata).reservedItems == 0)
    for (number, id) in files.enumerated() {
      #expect(try volume.readBytes(id, at: UInt64(size - 1), count: 2) == [UInt8(number % 250 + 1)])
    }
    try volume.unmount()
    try CacheJudge.judge(device, "full of names")
  }

  /// Free space that is all in single sectors takes an extent for each of them.
  @Test func dataForFreeSpaceInPieces() throws {
    let device = try TestImage.make(sizeBytes: 160 << 20)
    let volume = try mount(device)
    for number in 0..<3000 {
      let id = try volume.makeFile("/piece\(number)")
      try volume.writeBytes(id, at: 0, [UInt8](repeating: 1, count: 4096))
    }
    volume.files.flushAll()
    _ = try FilesSpaceTests.fill(volume, volume.makeFile("/filler"))
    try volume.synchronizeAll()
    // Each second sector of what the small files take.
    for number in stride(from: 0, to: 3000, by: 2) { try volume.remove("/piece\(number)") }
    try volume.synchronizeAll()

    let other = try volume.makeFile("/other")
    let accepted = try FilesSpaceTests.fill(volume, other)
    _ = try fillMetadata(volume)
    try volume.synchronizeAll()
    try #require(accepted > 3 << 20)
    #expect(try FilesSpaceTests.extents(volume, other).count > 700)
    #expect(try volume.readBytes(other, at: accepted - 1, count: 2) == [6])
    try volume.unmount()
    try CacheJudge.judge(device, "free space in pieces")
  }

  /// A sector of preallocated space is on its way to the device while it is written again, and no
  /// space is left: the second write needs new space, so it is refused or kept, never lost.
  @Test func preallocatedSectorOnItsWay() throws {
    let memory = try TestImage.make(sizeBytes: 160 << 20)
    let device = try SimulatedDevice(memory)
    let volume = try mount(device)
    let id = try volume.makeFile("/preallocated")
    try volume.content.allocate(id, .plain, offset: 0, length: 1 << 20)
    _ = try FilesSpaceTests.fill(volume, volume.makeFile("/filler"))
    try volume.synchronizeAll()
    let before = counters(volume.space.groups.data)

    try volume.writeBytes(id, at: 0, [UInt8](repeating: 1, count: 65536))
    device.delay(.write, microseconds: 5000)
    let writes = device.count(.write)
    let inode = try volume.content.file(id)
    volume.files.writeBack.start(of: inode)
    #expect(device.wait(.write, beyond: writes))

    // The device has the first soon, but its items need the lock that this write holds.
    let second = [UInt8](repeating: 2, count: 4096)
    let isAccepted = try isAccepted(second, at: 8192, of: inode, in: volume)
    device.delay(.write, microseconds: 0)
    try volume.synchronizeAll()
    let found = try volume.readBytes(id, at: 8192, count: 1)
    #expect(found == [isAccepted ? 2 : 1])
    let after = counters(volume.space.groups.data)
    #expect(after.reserved == 0 && before.reserved == 0)
    try volume.unmount()
    try CacheJudge.judge(memory, "preallocated, on its way")
  }

  /// Writes what may find no space, without a second try.
  private func isAccepted(
    _ bytes: [UInt8], at offset: UInt64, of inode: Inode, in volume: Volume
  ) throws -> Bool {
    let result = bytes.withUnsafeBytes { bytes in
      inode.lock.shared { Result { try volume.files.write(inode, at: offset, bytes) } }
    }
    do {
      try result.get()
      return true
    } catch FilesystemError.noSpace {
      return false
    }
  }
}
