/// Copies what stands on the device from one data extent to another, held against its checksums.
struct ExtentCopier {
  let geometry: Geometry
  let device: LogicalDevice
  let checksums: ChecksumTree
  let mirrors: MirroredReader

  /// Bytes that are in memory at a time.
  private static let pieceBytes = 1 << 20

  /// Checksums of some sectors of an extent, by ranges of neighbours.
  struct Sums {
    var bytes: [UInt8]
    /// Ranges of sectors that have one.
    var runs: [Range<Int>]
  }

  /// The checksums that the tree has for an extent.
  func sums(
    of address: LogicalAddress, length: UInt64
  ) throws(FilesystemError) -> Sums {
    let count = Int(length / geometry.sectorSize)
    let bytes = UnsafeMutableRawBufferPointer.allocate(
      byteCount: max(count * geometry.checksumType.size, 1), alignment: 16)
    defer { bytes.deallocate() }
    bytes.zero()
    let present = try checksums.read(from: address, length: length, into: bytes)
    var sums = Sums(bytes: Array(bytes), runs: [])
    var start: Int?
    for sector in 0...count {
      let isPresent = sector < count && present[sector]
      if isPresent, start == nil { start = sector }
      if !isPresent, let first = start {
        sums.runs.append(first..<sector)
        start = nil
      }
    }
    return sums
  }

  /// Copies `length` bytes. Sectors with a checksum are right afterwards, or this throws; of the
  /// others the first copy that can be read is taken. Nobody changes either extent meanwhile.
  func copy(
    from source: LogicalAddress, to target: LogicalAddress, length: UInt64, _ sums: Sums
  ) throws(FilesystemError) {
    let buffer = AlignedBuffer(count: min(Self.pieceBytes, Int(length)))
    var done: UInt64 = 0
    while done < length {
      let count = min(buffer.count, Int(length - done))
      let piece = buffer.bytes.part(0, count)
      try read(at: source + done, into: piece, firstSector: Int(done / geometry.sectorSize), sums)
      try device.write(UnsafeRawBufferPointer(piece), at: target + done)
      done += UInt64(count)
    }
    withExtendedLifetime(buffer) {}
  }

  private func read(
    at address: LogicalAddress, into target: UnsafeMutableRawBufferPointer, firstSector: Int,
    _ sums: Sums
  ) throws(FilesystemError) {
    var isRead = true
    do throws(FilesystemError) {
      try device.read(into: target, at: address)
    } catch .device {
      isRead = false
    }
    let sectorBytes = geometry.sectorBytes
    let type = geometry.checksumType
    var run = sums.runs.firstIndex { $0.upperBound > firstSector } ?? sums.runs.count
    for index in 0..<target.count / sectorBytes {
      let sector = firstSector + index
      while run < sums.runs.count, sums.runs[run].upperBound <= sector { run += 1 }
      let isChecked = run < sums.runs.count && sums.runs[run].contains(sector)
      let bytes = target.part(index * sectorBytes, sectorBytes)
      let expected = sums.bytes[sector * type.size..<(sector + 1) * type.size]
      let isRight = expected.withUnsafeBytes {
        !isChecked || type.matches(UnsafeRawBufferPointer(bytes), $0)
      }
      if isRead, isRight { continue }
      let place = address + UInt64(index * sectorBytes)
      _ = try mirrors.read(into: bytes, at: place, of: { "the data at \(place)" }) {
        (bytes) throws(FilesystemError) in
        guard isChecked else { return }
        guard expected.withUnsafeBytes({ type.matches(bytes, $0) }) else {
          throw .checksum(what: "data", address: place.rawValue)
        }
      }
    }
  }
}
