import Glibc

/// What is in a file, however it is stored.
package struct FileContent: Hashable, Sendable {
  /// Of every block that is not all zero, with its number. Two files are the same when this and
  /// their sizes are: whether zeros are stored or are a hole makes no difference.
  package var hash: UInt64
  /// The data segments exactly as SEEK_DATA and SEEK_HOLE report them, as a hash.
  package var reportedMapHash: UInt64
  package var segments: Int
}

package enum FileReader {
  private static let blockSize = 4096

  /// Reads the whole file, with its holes skipped, and checks of the holes a sample for zeros.
  package static func content(
    of descriptor: Int32, size: Int, path: BytePath
  ) throws(SystemError) -> FileContent {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 4096)
    defer { buffer.deallocate() }
    var hash = ContentHash()
    var reported = ContentHash()
    var segments = 0
    var position = 0
    while position < size {
      let start = try nextData(descriptor, position, size, path)
      try verifyHole(descriptor, position, start, buffer, path)
      if start >= size { break }
      let end = try check("SEEK_HOLE at \(start) in \(path)") {
        lseek(descriptor, start, Linux.seekHole)
      }
      guard end > start else {
        throw SystemError(what: "SEEK_HOLE in \(path) at data \(start) gives \(end)", code: 0)
      }
      reported.add(UInt64(start))
      reported.add(UInt64(end))
      segments += 1
      var offset = start & ~(blockSize - 1)
      while offset < end {
        let wanted = min(buffer.count, min(end, size) - offset)
        if wanted <= 0 { break }
        let count = try check("read \(path) at \(offset)") {
          pread(descriptor, buffer.baseAddress, wanted, offset)
        }
        guard count == wanted else {
          throw SystemError(what: "read of \(wanted) at \(offset) in \(path): \(count)", code: 0)
        }
        addBlocks(buffer, count, offset, &hash)
        offset += count
      }
      position = end
    }
    return FileContent(
      hash: hash.value, reportedMapHash: reported.value, segments: segments)
  }

  private static func nextData(
    _ descriptor: Int32, _ position: Int, _ size: Int, _ path: BytePath
  ) throws(SystemError) -> Int {
    let start = lseek(descriptor, position, Linux.seekData)
    if start >= position { return start }
    if start < 0, errno == ENXIO { return size }
    throw SystemError(
      what: "SEEK_DATA at \(position) in \(path) gives \(start)", code: start < 0 ? errno : 0)
  }

  /// The ends of a hole read as zero.
  private static func verifyHole(
    _ descriptor: Int32, _ start: Int, _ end: Int, _ buffer: UnsafeMutableRawBufferPointer,
    _ path: BytePath
  ) throws(SystemError) {
    let length = min(end - start, 16384)
    guard length > 0 else { return }
    for offset in Set([start, end - length]) {
      let count = try check("read \(path)") {
        pread(descriptor, buffer.baseAddress, length, offset)
      }
      let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<count])
      guard count == length, isZero(bytes) else {
        throw SystemError(
          what: "the hole \(start) ..< \(end) of \(path) does not read as \(length) zeros at "
            + "\(offset)", code: 0)
      }
    }
  }

  private static func addBlocks(
    _ buffer: UnsafeMutableRawBufferPointer, _ count: Int, _ offset: Int,
    _ hash: inout ContentHash
  ) {
    for start in stride(from: 0, to: count, by: blockSize) {
      let block = UnsafeRawBufferPointer(rebasing: buffer[start..<min(start + blockSize, count)])
      if isZero(block) { continue }
      hash.add(UInt64((offset + start) / blockSize))
      hash.add(block)
    }
  }

  private static func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let base = bytes.baseAddress, bytes.count > 0 else { return true }
    return bytes[0] == 0 && memcmp(base, base + 1, bytes.count - 1) == 0
  }
}
