/// A chunk: a logical range and where its copies stand on the one device.
package struct Chunk: Sendable, Equatable {
  package let start: LogicalAddress
  package let item: ChunkItem

  package init(start: LogicalAddress, item: ChunkItem) {
    self.start = start
    self.item = item
  }

  package var length: UInt64 { item.length }
  package var end: LogicalAddress { start + length }

  package func contains(_ address: LogicalAddress) -> Bool { address >= start && address < end }

  /// Logical ranges of this chunk in which a superblock copy stands: never allocated
  /// (format §5.7). Sorted, without overlaps.
  package var superblockRanges: [(start: LogicalAddress, length: UInt64)] {
    var starts: Set<UInt64> = []
    for stripe in item.stripes {
      for offset in Format.superblockOffsets
      where offset >= stripe.offset.rawValue && offset < stripe.offset.rawValue + length {
        let within = (offset - stripe.offset.rawValue).roundedDown(to: Format.stripeLength)
        starts.insert(start.rawValue + within)
      }
    }
    return starts.sorted().map {
      (LogicalAddress($0), min(Format.stripeLength, end.rawValue - $0))
    }
  }
}

/// Where every logical address stands on the device. Lock rank: `chunkMap`.
///
/// 1. Chunks do not overlap, and each lies inside the device.
/// 2. A chunk is never changed; it is only added.
package final class ChunkMap: Sendable {
  private let state = ReadWriteLock(rank: .chunkMap)

  /// Guarded by `state`.
  nonisolated(unsafe) private var chunks: [Chunk] = []

  package init() {}

  /// Adds a chunk. One that is there already, and equal, is left. Of a chunk of several devices
  /// the stripes on this one count; a chunk that is striped over devices is left out.
  package func add(_ chunk: Chunk, deviceSize: UInt64) throws(FilesystemError) {
    let item = chunk.item
    let (end, overflow) = chunk.start.rawValue.addingReportingOverflow(item.length)
    guard item.length > 0, !overflow, item.length % 4096 == 0, chunk.start.rawValue % 4096 == 0,
      item.stripeLength == Format.stripeLength
    else {
      throw .corrupt("chunk \(chunk.start): length \(item.length)")
    }
    let mirrors: BlockGroupFlags = [.dup, .raid1, .raid1c3, .raid1c4]
    guard item.flags.intersection(.profiles).subtracting(mirrors).isEmpty else {
      // Nothing in it can be read; what asks for it gets an error.
      return
    }
    for stripe in item.stripes {
      let (stripeEnd, overflow) = stripe.offset.rawValue.addingReportingOverflow(item.length)
      guard !overflow, stripeEnd <= deviceSize else {
        throw .corrupt("chunk \(chunk.start) passes the end of the device")
      }
    }

    try state.exclusive { () throws(FilesystemError) in
      let index = firstIndex(endingAfter: chunk.start)
      if index < chunks.count {
        if chunks[index] == chunk { return }
        guard chunks[index].start.rawValue >= end else {
          throw .corrupt("chunks \(chunks[index].start) and \(chunk.start) overlap")
        }
      }
      chunks.insert(chunk, at: index)
    }
  }

  package func chunk(containing address: LogicalAddress) throws(FilesystemError) -> Chunk {
    let found = state.shared { () -> Chunk? in
      let index = firstIndex(endingAfter: address)
      return index < chunks.count && chunks[index].contains(address) ? chunks[index] : nil
    }
    guard let found else { throw .corrupt("logical address \(address) is in no chunk") }
    return found
  }

  /// All chunks by ascending address.
  package var all: [Chunk] { state.shared { chunks } }

  private func firstIndex(endingAfter address: LogicalAddress) -> Int {
    var low = 0
    var high = chunks.count
    while low < high {
      let middle = (low + high) / 2
      if chunks[middle].end > address { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
