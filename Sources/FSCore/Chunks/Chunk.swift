/// A chunk: a logical range, and the stripes on devices that hold it.
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
