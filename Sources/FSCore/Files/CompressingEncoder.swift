/// Compresses what `CompressionPolicy` says is to be compressed.
///
/// 1. A piece is what a part has in one cell of the buffer: no more than a compressed extent can hold,
///    in one stretch of memory, so nothing is copied before it is compressed. Files that are written
///    in order get pieces of 128 KiB that begin at multiples of that.
/// 2. A piece is stored compressed when that saves a sector at least. The others are stored as they
///    are, neighbours as one piece.
/// 3. Workers compress the pieces behind the one that is on its way to the device (`SharedWork`), and
///    the thread that writes the batch compresses when it has nothing to write. How far they are
///    ahead is bounded, and with it the memory for compressed bytes: `window` pieces for each batch
///    that is under way.
/// 4. The last sector of a file is compressed with the zeros behind its end.
struct CompressingEncoder: PieceEncoder {
  /// How many pieces may be compressed and not on their way to the device.
  private static let window = 16

  let geometry: Geometry
  let policy: CompressionPolicy
  let contexts: CodecContexts
  let workers: WorkerPool

  func plan(for inode: Inode) -> CompressionPlan? { policy.plan(for: inode) }

  func encode(
    _ part: Range<UInt64>, of batch: borrowing WriteBatch, by plan: inout CompressionPlan?,
    _ body: (EncodedPiece) throws(FilesystemError) -> Void
  ) throws(FilesystemError) {
    // A single sector saves nothing.
    guard let method = plan?.method, plan?.isHopeless == false,
      part.upperBound - part.lowerBound > geometry.sectorSize
    else { return try body(EncodedPiece(part)) }

    let steps = CompressionSteps(
      pieces: try pieces(of: part, batch), method: method, isForced: plan?.isForced == true,
      sectorBytes: geometry.sectorBytes, contexts: contexts)
    let work = SharedWork(
      steps, count: steps.pieces.count, window: Self.window, workers: workers)
    defer { work.end() }

    var plain = part.lowerBound
    for piece in steps.pieces {
      let outcome = work.take()
      switch outcome {
      case .plain: continue
      case .tooLong:
        guard plan?.isRemembered == true else { continue }
        plan?.isHopeless = true
        return try body(EncodedPiece(plain..<part.upperBound))
      case .compressed(let bytes, let diskLength):
        let start = piece.range.lowerBound
        if plain < start { try body(EncodedPiece(plain..<start)) }
        try body(EncodedPiece(piece.range, method.algorithm, bytes, diskLength: diskLength))
        plain = piece.range.upperBound
      }
    }
    if plain < part.upperBound { try body(EncodedPiece(plain..<part.upperBound)) }
  }

  private func pieces(
    of part: Range<UInt64>, _ batch: borrowing WriteBatch
  ) throws(FilesystemError) -> [CompressionSteps.Piece] {
    var pieces: [CompressionSteps.Piece] = []
    pieces.reserveCapacity(Int((part.upperBound - part.lowerBound) / BufferCell.size) + 2)
    try batch.forEachPiece(of: part) { (offset, bytes) throws(FilesystemError) in
      pieces.append(
        CompressionSteps.Piece(range: offset..<(offset + UInt64(bytes.count)), bytes: bytes))
    }
    return pieces
  }
}

/// The pieces of one part, each a step. Their bytes are those of the batch's cells, which do not
/// change, and stay until the batch is done.
struct CompressionSteps: WorkSteps, @unchecked Sendable {
  struct Piece {
    let range: Range<UInt64>
    let bytes: UnsafeRawBufferPointer
  }

  enum Outcome: Sendable {
    /// It is not worth the attempt.
    case plain
    /// Not even a sector would be saved.
    case tooLong
    case compressed(AlignedBuffer, diskLength: UInt64)
  }

  let pieces: [Piece]
  let method: CompressionMethod
  let isForced: Bool
  let sectorBytes: Int
  let contexts: CodecContexts

  func perform(_ step: Int) -> Outcome {
    let bytes = pieces[step].bytes
    guard bytes.count > sectorBytes, isForced || CompressionOutlook.isGood(bytes) else {
      return .plain
    }
    let output = AlignedBuffer(count: bytes.count - sectorBytes)
    let produced = contexts.with { context in
      Compressor.compress(method, bytes, into: output.bytes, sectorSize: sectorBytes, context)
    }
    guard let produced else { return .tooLong }
    let stored = Int(UInt64(produced).roundedUp(to: UInt64(sectorBytes)))
    output.bytes.part(produced, stored - produced).zero()
    return .compressed(output, diskLength: UInt64(stored))
  }
}
