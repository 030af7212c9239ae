import Glibc
import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

@Suite(.timeLimit(.minutes(10))) struct FilesFaultTests {
  static let content = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 / 977 + 1) }

  /// A mounted image with one file of `content`, which stands on the device.
  static func makeFile(
    data: MakeFilesystem.Profile = .single
  ) throws -> (device: SimulatedDevice, volume: Volume, id: InodeID) {
    let device = try SimulatedDevice(try TestImage.make { $0.data = data })
    let volume = try Volume.mountForTest(device)
    let id = try volume.makeFile("/file")
    try volume.writeBytes(id, at: 0, content)
    try volume.content.synchronize(id, dataOnly: false)
    return (device, volume, id)
  }

  /// Where copy `copy` of the file's sector `sector` stands.
  static func place(
    _ volume: Volume, _ id: InodeID, sector: UInt64, copy: Int
  ) throws -> PhysicalAddress {
    let offset = sector * 4096
    let inode = try volume.content.file(id)
    let extents = try inode.content.shared { () throws(FilesystemError) in
      try inode.extents(in: offset..<(offset + 4096))
    }
    let extent = try #require(extents.first)
    return try volume.device.locate(
      extent.address(of: offset), length: 4096, copy: copy
    ).offset
  }

  static func damage(_ device: SimulatedDevice, _ place: PhysicalAddress) throws {
    try [UInt8](repeating: 0xdd, count: 100).withUnsafeBytes {
      try device.write($0, at: PhysicalAddress(place.rawValue + 50))
    }
  }

  @Test func badCopyIsReplacedByTheOther() throws {
    let (device, volume, id) = try Self.makeFile(data: .dup)
    let places = try (0..<2).map { try Self.place(volume, id, sector: 7, copy: $0) }
    try Self.damage(device, places[0])

    #expect(try volume.readBytes(id, at: 0, count: Self.content.count) == Self.content)

    var sectors: [[UInt8]] = []
    for place in places {
      var sector = [UInt8](repeating: 0, count: 4096)
      try sector.withUnsafeMutableBytes { try device.read(into: $0, at: place) }
      sectors.append(sector)
    }
    #expect(sectors[0] == sectors[1])
    #expect(sectors[0] == Array(Self.content[28672..<32768]))
    try volume.unmount()
  }

  @Test func unreadableCopyIsReplacedByTheOther() throws {
    let (device, volume, id) = try Self.makeFile(data: .dup)
    let place = try Self.place(volume, id, sector: 3, copy: 0).rawValue
    device.fail(.init([.read], in: [place..<(place + 1)]))
    #expect(try volume.readBytes(id, at: 0, count: Self.content.count) == Self.content)
    try volume.unmount()
  }

  @Test func damagedSectorIsAnErrorForItAlone() throws {
    let (device, volume, id) = try Self.makeFile()
    try Self.damage(device, try Self.place(volume, id, sector: 7, copy: 0))

    let error = #expect(throws: FilesystemError.self) {
      try volume.readBytes(id, at: 28672, count: 10)
    }
    #expect(error?.errno == EIO)
    #expect(throws: FilesystemError.self) {
      try volume.readBytes(id, at: 0, count: Self.content.count)
    }
    #expect(try volume.readBytes(id, at: 0, count: 28672) == Array(Self.content[0..<28672]))
    #expect(
      try volume.readBytes(id, at: 32768, count: 1 << 20) == Array(Self.content[32768...]))

    // A part of it cannot be written, as the rest is unknown; all of it can.
    #expect(throws: FilesystemError.self) { try volume.writeBytes(id, at: 28700, [1]) }
    try volume.writeBytes(id, at: 28672, [UInt8](repeating: 9, count: 4096))
    #expect(try volume.readBytes(id, at: 28000, count: 10000).count == 10000)
    try volume.unmount()
  }

  @Test func lostDataIsReportedOnceByTheNextSynchronization() throws {
    let (device, volume, id) = try Self.makeFile()
    let other = try volume.makeFile("/other")
    try volume.writeBytes(id, at: 0, [UInt8](repeating: 5, count: 100_000))
    // Tree blocks are smaller.
    device.fail(.init([.write], smallest: 65536))

    let error = #expect(throws: FilesystemError.self) {
      try volume.content.synchronize(id, dataOnly: false)
    }
    #expect(error?.errno == EIO)
    #expect(throws: Never.self) { try volume.content.synchronize(id, dataOnly: false) }

    // What the file had is still there, and the volume goes on.
    #expect(try volume.readBytes(id, at: 0, count: 1 << 20) == Self.content)
    device.heal()
    try volume.writeBytes(other, at: 0, Self.content)
    try volume.writeBytes(id, at: 10, [7, 7])
    // A synchronization of the volume must report it, too, once.
    #expect(throws: FilesystemError.self) { try volume.synchronizeAll() }
    try volume.synchronizeAll()
    #expect(try volume.readBytes(other, at: 0, count: 1 << 20) == Self.content)
    #expect(try volume.readBytes(id, at: 9, count: 4) == [1, 7, 7, 1])
    try volume.unmount()
  }

  /// Each write of compressed data fails once. What it was to write is lost, which is reported, and the
  /// rest is there; all that was kept back for it is given back.
  @Test(arguments: ["zstd", "lzo"]) func anyWriteOfCompressedDataMayFail(option: String) throws {
    let text = CompressionTests.text(700_000)
    let old = [UInt8](repeating: 3, count: text.count)
    var number = 0
    while true {
      let memory = try TestImage.make()
      let device = try SimulatedDevice(memory)
      let volume = try Volume.mountForTest(device) { $0.compress(option) }
      let id = try volume.makeFile("/file")
      try volume.writeBytes(id, at: 0, old)
      try volume.synchronizeAll()
      let places = try volume.space.groups.data.groups.map { group in
        let start = try volume.device.locate(group.start, length: 4096, copy: 0).offset.rawValue
        return start..<(start + group.length)
      }
      try volume.writeBytes(id, at: 0, text)
      device.fail(.init([.write], in: places, after: number, times: 1))
      volume.files.flushAll()
      device.heal()
      #expect(volume.space.groups.data.counters.withLock { $0.reservedData } == 0)

      let found = try volume.readBytes(id, at: 0, count: 1 << 20)
      #expect(found.count == text.count)
      var lost = 0
      for start in stride(from: 0, to: text.count, by: 4096) {
        let range = start..<min(start + 4096, text.count)
        guard found[range] != text[range] else { continue }
        #expect(found[range] == old[range], "write \(number), at \(start)")
        lost += 1
      }
      guard lost > 0 else {
        try volume.content.synchronize(id, dataOnly: false)
        try volume.unmount()
        break
      }
      let error = #expect(throws: FilesystemError.self) {
        try volume.content.synchronize(id, dataOnly: false)
      }
      #expect(error?.errno == EIO, "write \(number)")
      try volume.writeBytes(id, at: 0, text)
      try? volume.synchronizeAll()
      try volume.synchronizeAll()
      #expect(volume.brokenInvariants() == [])
      #expect(try volume.readBytes(id, at: 0, count: 1 << 20) == text)
      try volume.unmount()
      try CacheJudge.check(memory)
      number += 1
    }
    #expect(number > 3)
  }

  /// fsync(2) says it once to each that had the file open, close(2) as long as fsync did not.
  @Test func everyOpenFileIsToldOfLostData() throws {
    let (device, volume, id) = try Self.makeFile()
    let readers = (0..<2).map { _ in volume.content.failureReader(of: id) }
    func isTold(_ reader: FailureReader, byClosing: Bool) -> Bool {
      do throws(FilesystemError) {
        if byClosing {
          try volume.content.reportFailure(of: id, reader)
        } else {
          try volume.content.synchronize(id, dataOnly: false, reader)
        }
        return false
      } catch {
        return error.errno == EIO
      }
    }
    #expect(!isTold(readers[0], byClosing: true))
    try volume.writeBytes(id, at: 0, [UInt8](repeating: 5, count: 100_000))
    device.fail(.init([.write], smallest: 65536))
    volume.files.flushAll()
    device.heal()

    // No open has reported it: the next one does.
    let late = volume.content.failureReader(of: id)
    #expect(isTold(readers[0], byClosing: true) && isTold(readers[0], byClosing: true))
    #expect(isTold(readers[0], byClosing: false))
    #expect(!isTold(readers[0], byClosing: false) && !isTold(readers[0], byClosing: true))
    #expect(!isTold(volume.content.failureReader(of: id), byClosing: false))
    #expect(isTold(readers[1], byClosing: true) && isTold(late, byClosing: false))
    #expect(!isTold(late, byClosing: true) && isTold(readers[1], byClosing: false))
    #expect(throws: FilesystemError.self) { try volume.unmount() }
  }

  @Test func buffersAreEmptyAndNothingIsReservedAfterFailures() throws {
    let (device, volume, id) = try Self.makeFile()
    device.fail(.init([.write], smallest: 65536))
    try volume.writeBytes(id, at: 0, [UInt8](repeating: 5, count: 100_000))
    volume.files.flushAll()
    try volume.commit()
    #expect(volume.files.bufferedBytes == 0)
    #expect(volume.files.buffer.dirtyFiles.count == 0)
    #expect(volume.space.groups.data.counters.withLock { $0.reservedData } == 0)
    device.heal()

    // Nobody was told yet, so unmounting does; all else it does too.
    try volume.makeFile("/last")
    let error = #expect(throws: FilesystemError.self) { try volume.unmount() }
    #expect(error?.errno == EIO)
    let after = try Volume.mountForTest(device)
    #expect(try after.attributes.attributes(of: after.find("/last")).item.size == 0)
    try after.unmount()
  }

  /// What was reserved for a whole batch comes back where an error comes before any of it was placed.
  @Test func nothingIsReservedWhenExtentsCannotBeRead() throws {
    let device = try SimulatedDevice(TestImage.make { $0.nodeSize = 4096 })
    let volume = try Volume.mountForTest(device)
    let id = try volume.makeFile("/file")
    try volume.content.allocate(id, .plain, offset: 0, length: 1 << 20)
    // The tree has leaves below its root.
    for number in 0..<100 { try volume.makeFile("/other\(number)") }
    try volume.synchronizeAll()
    try volume.writeBytes(id, at: 0, [UInt8](repeating: 5, count: 100 << 10))
    for block in try ReadFaultTests.treeBlocks(of: device.memory) {
      volume.trees.context.cache.drop(block.logical)
    }

    device.fail(.init([.read]))
    volume.files.flushAll()
    #expect(device.failures > 0)
    device.heal()
    try volume.commit()
    #expect(volume.files.bufferedBytes == 0)
    #expect(volume.brokenInvariants() == [])
    let error = #expect(throws: FilesystemError.self) { try volume.unmount() }
    #expect(error?.errno == EIO)
  }
}
