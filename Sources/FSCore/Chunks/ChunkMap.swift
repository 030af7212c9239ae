/// A chunk: a logical range, and where its copies stand on the one device that is open.
package struct Chunk: Sendable, Equatable {
  package let start: LogicalAddress
  package let item: ChunkItem
  /// Where on the device its whole copies begin. There are none when it stands on other devices of
  /// the file system, or is striped over several.
  package let copies: [PhysicalAddress]

  /// A chunk of a file system that has this device only.
  package init(start: LogicalAddress, item: ChunkItem) {
    self.init(start: start, item: item, copies: item.stripes.map(\.offset))
  }

  package init(start: LogicalAddress, item: ChunkItem, copies: [PhysicalAddress]) {
    self.start = start
    self.item = item
    self.copies = copies
  }

  /// A chunk as the device of `superblock` has it: with the whole copies that stand there.
  package init(
    start: LogicalAddress, item: ChunkItem, on superblock: Superblock
  ) throws(FilesystemError) {
    var stripes = item.columns == 1 ? item.stripes : []
    if superblock.deviceCount > 1 {
      let deviceID = try superblock.deviceItem.deviceID
      stripes.removeAll { $0.deviceID != deviceID }
    }
    self.init(start: start, item: item, copies: stripes.map(\.offset))
  }

  package var length: UInt64 { item.length }
  package var end: LogicalAddress { start + length }

  package func contains(_ address: LogicalAddress) -> Bool { address >= start && address < end }

  /// Logical ranges of this chunk in which, on any device, a superblock copy stands: never
  /// allocated (format §5.7). Sorted, without overlaps.
  package var superblockRanges: [(start: LogicalAddress, length: UInt64)] {
    let columns = item.columns
    let (rest, stripeLength) = (length % columns, length / columns)
    let longest = stripeLength + (rest > 0 ? 1 : 0)
    var starts: Set<UInt64> = []
    for (index, stripe) in item.stripes.enumerated() {
      for offset in Format.superblockOffsets where offset >= stripe.offset.rawValue {
        let within = offset - stripe.offset.rawValue
        guard within < longest else { continue }
        let row = within / Format.stripeLength
        let part = (row * columns + item.column(ofStripe: index)) * Format.stripeLength
        if part < length { starts.insert(start.rawValue + part) }
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
/// 3. All stripes of all chunks together have less than 2^63 bytes, so that lengths can be added up
///    without another look.
package final class ChunkMap: Sendable {
  private let state = ReadWriteLock(rank: .chunkMap)

  /// Guarded by `state`.
  nonisolated(unsafe) private var chunks: [Chunk] = []
  nonisolated(unsafe) private var stripeBytes: UInt64 = 0

  package init() {}

  /// Adds a chunk. One that is there already, and equal, is left.
  package func add(_ chunk: Chunk, deviceSize: UInt64) throws(FilesystemError) {
    let item = chunk.item
    let (end, overflow) = chunk.start.rawValue.addingReportingOverflow(item.length)
    guard item.length > 0, !overflow, item.length % 4096 == 0, chunk.start.rawValue % 4096 == 0,
      item.stripeLength == Format.stripeLength
    else {
      throw .corrupt("chunk \(chunk.start): length \(item.length)")
    }
    for copy in chunk.copies {
      let (copyEnd, overflow) = copy.rawValue.addingReportingOverflow(item.length)
      guard !overflow, copyEnd <= deviceSize else {
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
      let bytes = item.length.multipliedReportingOverflow(by: UInt64(item.stripes.count))
      let all = stripeBytes.addingReportingOverflow(bytes.partialValue)
      guard !bytes.overflow, !all.overflow, all.partialValue <= Int64.max else {
        throw .corrupt("chunk \(chunk.start): the chunks have more than 2^63 bytes")
      }
      stripeBytes = all.partialValue
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
