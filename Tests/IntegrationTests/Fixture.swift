import CCodecs
import Glibc
import TestSupport

/// An image that no tool makes that is at hand; TESTING.md says where each is from. Compressed
/// by zstd.
struct Fixture {
  private let path: BytePath

  init(_ name: String) {
    path = BytePath(#filePath).parent.appending("Fixtures").appending(name)
  }

  /// Writes the image, sparse.
  func unpack(to image: String) throws {
    let packed = try readFile(path)
    // Memory that is not written to is none.
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 30, alignment: 4096)
    defer { room.deallocate() }
    let context = ccodecs_context_new()
    defer { ccodecs_context_free(context) }
    let count = ccodecs_zstd_decompress(context, packed, packed.count, room.baseAddress, room.count)
    guard count > 0, count < room.count else { throw TestFailure("\(path) is damaged") }

    let descriptor = try check("create \(image)") {
      open(image, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    }
    defer { close(descriptor) }
    try check("truncate \(image)") { ftruncate(descriptor, count) }
    let zeros = [UInt8](repeating: 0, count: 1 << 16)
    for offset in stride(from: 0, to: count, by: zeros.count) {
      let part = UnsafeRawBufferPointer(rebasing: room[offset..<min(offset + zeros.count, count)])
      guard memcmp(part.baseAddress!, zeros, part.count) != 0 else { continue }
      let written = try check("write \(image)") {
        pwrite(descriptor, part.baseAddress!, part.count, offset)
      }
      guard written == part.count else { throw TestFailure("\(image): no room") }
    }
  }
}
