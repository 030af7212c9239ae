import Synchronization

/// An image in memory, sparse by pieces of 64 KiB: for tests and for trying things out.
///
/// Copies share the pieces, until one of them writes.
package final class MemoryDevice: BlockDevice {
  private let currentSize: Atomic<UInt64>
  package var sizeBytes: UInt64 { currentSize.load(ordering: .acquiring) }
  private let pieces: Guarded<[UInt64: AlignedBuffer]>
  private static let pieceSize: UInt64 = 65536

  package init(sizeBytes: UInt64) {
    currentSize = Atomic(sizeBytes)
    pieces = Guarded([:], rank: .leaf)
  }

  package func read(
    into buffer: UnsafeMutableRawBufferPointer, at address: PhysicalAddress
  ) throws(FilesystemError) {
    try check("read", address, buffer.count)
    pieces.withLock { pieces in
      Self.forEachPart(address.rawValue, buffer.count) { index, within, at, count in
        let target = buffer.part(at, count)
        if let piece = pieces[index] {
          target.copyMemory(from: piece.readable.part(within, count))
        } else {
          target.zero()
        }
      }
    }
  }

  package func write(
    _ bytes: UnsafeRawBufferPointer, at address: PhysicalAddress
  ) throws(FilesystemError) {
    try check("write", address, bytes.count)
    pieces.withLock { pieces in
      Self.forEachPart(address.rawValue, bytes.count) { index, within, at, count in
        let piece = Self.writable(index, &pieces)
        piece.bytes.store(bytes.part(at, count), at: within)
      }
    }
  }

  package func resize(to bytes: UInt64) throws(FilesystemError) {
    pieces.withLock { pieces in
      currentSize.store(bytes, ordering: .releasing)
      for index in Array(pieces.keys) where (index + 1) * Self.pieceSize > bytes {
        if index * Self.pieceSize >= bytes {
          pieces[index] = nil
        } else {
          let kept = Int(bytes - index * Self.pieceSize)
          let piece = Self.writable(index, &pieces)
          piece.bytes.part(kept, piece.count - kept).zero()
        }
      }
    }
  }

  package func flush() throws(FilesystemError) {}

  package func discard(
    _ length: UInt64, at address: PhysicalAddress
  ) throws(FilesystemError) {
    try check("discard", address, Int(clamping: length))
    pieces.withLock { pieces in
      Self.forEachPart(address.rawValue, Int(length)) { index, within, _, count in
        if count == Int(Self.pieceSize) {
          pieces[index] = nil
        } else if pieces[index] != nil {
          Self.writable(index, &pieces).bytes.part(within, count).zero()
        }
      }
    }
  }

  /// A device of the same content, of its own from here on.
  package func copy() -> MemoryDevice {
    let copy = MemoryDevice(sizeBytes: sizeBytes)
    let shared = pieces.withLock { $0 }
    copy.pieces.withLock { $0 = shared }
    return copy
  }

  /// The piece, which no copy has as well.
  private static func writable(
    _ index: UInt64, _ pieces: inout [UInt64: AlignedBuffer]
  ) -> AlignedBuffer {
    if isKnownUniquelyReferenced(&pieces[index]), let piece = pieces[index] { return piece }
    let piece: AlignedBuffer
    if let shared = pieces[index] {
      piece = AlignedBuffer(count: Int(pieceSize))
      piece.bytes.copyMemory(from: shared.readable)
    } else {
      piece = AlignedBuffer(zeroed: Int(pieceSize))
    }
    pieces[index] = piece
    return piece
  }

  /// Calls `body` with each piece that was ever written, for storing the image in a file.
  package func forEachPiece(_ body: (PhysicalAddress, UnsafeRawBufferPointer) -> Void) {
    for (index, piece) in pieces.withLock({ $0 }) {
      let end = min((index + 1) * Self.pieceSize, sizeBytes)
      let count = Int(end - index * Self.pieceSize)
      body(PhysicalAddress(index * Self.pieceSize), piece.readable.part(0, count))
    }
  }

  private static func forEachPart(
    _ start: UInt64, _ count: Int,
    _ body: (_ index: UInt64, _ within: Int, _ at: Int, _ count: Int) -> Void
  ) {
    var done = 0
    while done < count {
      let position = start + UInt64(done)
      let within = position % pieceSize
      let length = min(count - done, Int(pieceSize - within))
      body(position / pieceSize, Int(within), done, length)
      done += length
    }
  }
}
