import Logging

/// What a log line says about where bad data belong.
struct FilePosition {
  var inode: InodeID
  var offset: UInt64
}

/// Reads data from the device: holds every sector against its checksum, and where a copy is bad
/// takes another.
///
/// An object: a value would be copied for each read, and with it a reference counted for each of its
/// parts.
final class DataReader: Sendable {
  let geometry: Geometry
  let device: LogicalDevice
  let checksums: ChecksumTree
  let log: Logger

  init(geometry: Geometry, device: LogicalDevice, checksums: ChecksumTree, log: Logger) {
    self.geometry = geometry
    self.device = device
    self.checksums = checksums
    self.log = log
  }

  private var sectorBytes: Int { geometry.sectorBytes }

  /// Bytes that are read in one go, which bounds the memory for their checksums.
  private static let longestRead = 1 << 20

  private var mirrors: MirroredReader { MirroredReader(device: device, log: log) }

  /// Reads whole sectors of an extent. Where a copy is bad another is used, and the bad one is
  /// written anew. `content` of a file that refers to the extent is held.
  func read(
    at address: LogicalAddress, into target: UnsafeMutableRawBufferPointer, isChecked: Bool,
    _ file: FilePosition
  ) throws(FilesystemError) {
    var done = 0
    while done < target.count {
      let count = min(Self.longestRead, target.count - done)
      let position = FilePosition(inode: file.inode, offset: file.offset + UInt64(done))
      try readPiece(
        at: address + UInt64(done), into: target.part(done, count), isChecked: isChecked, position)
      done += count
    }
  }

  private func readPiece(
    at address: LogicalAddress, into target: UnsafeMutableRawBufferPointer, isChecked: Bool,
    _ file: FilePosition
  ) throws(FilesystemError) {
    var isRead = true
    do throws(FilesystemError) {
      try device.read(into: target, at: address)
    } catch {
      log.warning("file \(file.inode) offset \(file.offset): \(error)")
      guard case .device = error else { throw error }
      isRead = false
    }

    guard isChecked else {
      if !isRead { try repair(at: address, into: target, expected: nil, file) }
      return
    }

    try withUnsafeTemporaryAllocation(
      byteCount: target.count / sectorBytes * geometry.checksumType.size, alignment: 16
    ) { (sums) throws(FilesystemError) in
      let present = try checksums.read(from: address, length: UInt64(target.count), into: sums)
      // Nearly always all is well.
      if isRead, present.isComplete,
        geometry.checksumType.matchesEach(
          of: sectorBytes, in: UnsafeRawBufferPointer(target), UnsafeRawBufferPointer(sums))
      {
        return
      }
      try check(
        target, at: address, UnsafeRawBufferPointer(sums), present, isRead: isRead, file)
    }
  }

  /// Holds every sector against its checksum, and repairs those that differ from it.
  private func check(
    _ target: UnsafeMutableRawBufferPointer, at address: LogicalAddress,
    _ sums: UnsafeRawBufferPointer, _ present: SectorSet, isRead: Bool, _ file: FilePosition
  ) throws(FilesystemError) {
    let sumSize = geometry.checksumType.size
    for sector in 0..<(target.count / sectorBytes) {
      let bytes = target.part(sector * sectorBytes, sectorBytes)
      let expected = sums.part(sector * sumSize, sumSize)
      let position = FilePosition(
        inode: file.inode, offset: file.offset + UInt64(sector * sectorBytes))
      let sectorAddress = address + UInt64(sector * sectorBytes)
      guard present[sector] else {
        log.error("file \(file.inode) offset \(position.offset): no checksum for its data")
        throw .checksum(what: "data of file \(file.inode)", address: sectorAddress.rawValue)
      }
      if isRead, geometry.checksumType.matches(UnsafeRawBufferPointer(bytes), expected) {
        continue
      }
      try repair(at: sectorAddress, into: bytes, expected: expected, position)
    }
  }

  /// Reads a range from whatever copy is good, and writes that over the bad ones. `expected` is
  /// the checksum of a single sector; nil when there is none.
  private func repair(
    at address: LogicalAddress, into target: UnsafeMutableRawBufferPointer,
    expected: UnsafeRawBufferPointer?, _ file: FilePosition
  ) throws(FilesystemError) {
    _ = try mirrors.read(
      into: target, at: address,
      of: { "file \(file.inode) offset \(file.offset): the data at \(address)" }
    ) { (bytes) throws(FilesystemError) in
      if let expected, !geometry.checksumType.matches(bytes, expected) {
        throw .checksum(what: "data of file \(file.inode)", address: address.rawValue)
      }
    }
  }
}
