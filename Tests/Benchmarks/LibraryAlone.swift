import CCodecs
import Glibc
import Synchronization
import TestSupport

/// What a compression's library does by itself, on two threads, with pieces of 128 KiB that are in
/// memory: what no file system that uses it can be faster than.
final class LibraryAlone {
  private enum Method: Sendable {
    case zlib(Int32)
    case zstd(Int32)
    case lzo
  }

  private static let pieceBytes = 128 << 10
  private static let segmentBytes = 4096
  private static let threads = 2

  private let method: Method
  private var pieces: [Piece] = []

  /// A piece of the text, compressed: one stream, or one for each segment.
  private struct Piece: @unchecked Sendable {
    var bytes: UnsafeMutableRawBufferPointer
    var streamCounts: [Int]
    var contentCount: Int
  }

  /// - Parameter compress: as mount options have it.
  init(_ compress: String) throws {
    let parts = compress.split(separator: ":")
    let level = parts.count > 1 ? Int32(parts[1]) : 3
    switch (parts.first, level) {
    case ("zlib", let level?): method = .zlib(level)
    case ("zstd", let level?): method = .zstd(level)
    case ("lzo", _): method = .lzo
    default: throw TestFailure("compress=\(compress) is not known")
    }
  }

  deinit { for piece in pieces { piece.bytes.deallocate() } }

  /// Compresses `text` for `decompress`.
  func prepare(_ text: UnsafeMutableRawBufferPointer) throws {
    let context = ccodecs_context_new()
    defer { ccodecs_context_free(context) }
    let room = Self.room()
    defer { room.deallocate() }
    for start in stride(from: 0, to: text.count, by: Self.pieceBytes) {
      let content = Self.piece(of: UnsafeRawBufferPointer(text), at: start)
      let counts = try Self.compress(content, method, into: room, context)
      let total = counts.reduce(0, +)
      let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: total, alignment: 64)
      bytes.copyMemory(from: UnsafeRawBufferPointer(rebasing: room[..<total]))
      pieces.append(Piece(bytes: bytes, streamCounts: counts, contentCount: content.count))
    }
  }

  func compress(_ text: UnsafeMutableRawBufferPointer) throws {
    let (method, work) = (method, Text(text))
    try Self.onTwoThreads(Counter(), (text.count + Self.pieceBytes - 1) / Self.pieceBytes) {
      (index, room, context) in
      let content = Self.piece(of: UnsafeRawBufferPointer(work.bytes), at: index * Self.pieceBytes)
      _ = try Self.compress(content, method, into: room, context)
    }
  }

  func decompress() throws {
    let (method, pieces) = (method, pieces)
    try Self.onTwoThreads(Counter(), pieces.count) { (index, room, context) in
      let piece = pieces[index]
      var (from, to) = (0, 0)
      for count in piece.streamCounts {
        let (input, output) = (piece.bytes.baseAddress! + from, room.baseAddress! + to)
        let capacity = piece.contentCount - to
        let got =
          switch method {
          case .zlib: ccodecs_zlib_decompress(context, input, count, output, capacity)
          case .zstd: ccodecs_zstd_decompress(context, input, count, output, capacity)
          case .lzo: ccodecs_lzo1x_decompress(input, count, output, capacity)
          }
        guard got > 0 else { throw TestFailure("the library fails") }
        from += count
        to += got
      }
      guard to == piece.contentCount else { throw TestFailure("\(to) bytes come out") }
    }
  }

  private final class Counter: Sendable {
    private let taken = Atomic<Int>(0)
    func next() -> Int { taken.add(1, ordering: .relaxed).oldValue }
  }

  private struct Text: @unchecked Sendable {
    let bytes: UnsafeMutableRawBufferPointer
    init(_ bytes: UnsafeMutableRawBufferPointer) { self.bytes = bytes }
  }

  private static func onTwoThreads(
    _ counter: Counter, _ count: Int,
    _ body: @escaping @Sendable (Int, UnsafeMutableRawBufferPointer, OpaquePointer?) throws -> Void
  ) throws {
    try onThreads(threads) { _ in
      let context = ccodecs_context_new()
      defer { ccodecs_context_free(context) }
      let room = Self.room()
      defer { room.deallocate() }
      while case let index = counter.next(), index < count { try body(index, room, context) }
    }
  }

  private static func room() -> UnsafeMutableRawBufferPointer {
    .allocate(byteCount: 2 * pieceBytes, alignment: 4096)
  }

  private static func piece(of text: UnsafeRawBufferPointer, at start: Int)
    -> UnsafeRawBufferPointer
  {
    UnsafeRawBufferPointer(rebasing: text[start..<min(start + pieceBytes, text.count)])
  }

  /// Returns the lengths of the streams.
  private static func compress(
    _ content: UnsafeRawBufferPointer, _ method: Method,
    into room: UnsafeMutableRawBufferPointer, _ context: OpaquePointer?
  ) throws -> [Int] {
    let segment: Int
    if case .lzo = method { segment = segmentBytes } else { segment = content.count }
    var counts: [Int] = []
    var used = 0
    for start in stride(from: 0, to: content.count, by: segment) {
      let (input, count) = (content.baseAddress! + start, min(segment, content.count - start))
      let (output, capacity) = (room.baseAddress! + used, room.count - used)
      let got =
        switch method {
        case .zlib(let level): ccodecs_zlib_compress(context, level, input, count, output, capacity)
        case .zstd(let level): ccodecs_zstd_compress(context, level, input, count, output, capacity)
        case .lzo: ccodecs_lzo1x_compress(context, input, count, output, capacity)
        }
      guard got > 0 else { throw TestFailure("the library fails") }
      counts.append(got)
      used += got
    }
    return counts
  }
}
