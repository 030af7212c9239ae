/// The first stage of an ordered write: divides a batch by what stands on the device now.
struct CutStage: Sendable {
  /// How many file extents one new extent replaces at the most: a bound on its transaction.
  private static let mostReplaced = 256

  let geometry: Geometry
  let overwrites: OverwriteRule

  /// A range of the file that is written in one way.
  struct Part {
    var range: Range<UInt64>
    /// Where it is written in place; nil when it gets new space.
    var existing: (address: LogicalAddress, place: OrderedExtent.Place)?
  }

  /// The parts, in order: together they are all ranges of the batch. Takes `content`: another end
  /// of the file may be cut at the same time.
  ///
  /// - Parameter inPlace: whether anything may be written where it stands.
  func cut(
    _ batch: borrowing WriteBatch, inPlace: Bool
  ) throws(FilesystemError) -> [Part] {
    let (inode, runs) = (batch.inode, batch.runs)
    return try inode.content.shared { () throws(FilesystemError) in
      var parts: [Part] = []
      for run in runs { try cut(run, inode, inPlace: inPlace, into: &parts) }
      return parts
    }
  }

  private func cut(
    _ run: Range<UInt64>, _ inode: Inode, inPlace: Bool, into parts: inout [Part]
  ) throws(FilesystemError) {
    var start = run.lowerBound
    var replaced = 0
    for extent in try inode.extents(in: run) {
      let lower = max(extent.start, run.lowerBound)
      let upper = min(extent.end(geometry.sectorSize), run.upperBound)
      if inPlace, let place = try overwrites.place(within: extent, lower..<upper, inode) {
        if start < lower { parts.append(Part(range: start..<lower)) }
        parts.append(Part(range: lower..<upper, existing: (extent.address(of: lower), place)))
        start = upper
        replaced = 0
        continue
      }
      replaced += 1
      if replaced == Self.mostReplaced {
        parts.append(Part(range: start..<upper))
        start = upper
        replaced = 0
      }
    }
    if start < run.upperBound { parts.append(Part(range: start..<run.upperBound)) }
  }
}
