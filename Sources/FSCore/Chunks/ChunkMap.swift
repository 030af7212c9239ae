/// Where every logical address stands on the devices that are open. Lock rank: `chunkMap`.
///
/// 1. Chunks do not overlap, and each stripe on an open device lies inside it.
/// 2. A chunk is never changed: it comes whole, and goes when nothing refers to it any more.
/// 3. All stripes of all chunks together have less than 2^63 bytes, so that lengths can be added up
///    without another look.
/// 4. What is read and written in one go is a range of one chunk, as every extent is: each mirror of
///    it is one segment, a place on a device. A chunk whose stripes are not whole copies has no
///    mirror here: its ranges would be several segments each.
package final class ChunkMap: Sendable {
  private struct Entry {
    let chunk: Chunk
    /// Where its whole copies on open devices begin.
    let mirrors: [DeviceAddress]
  }

  package let devices: DeviceSet
  private let state = ReadWriteLock(rank: .chunkMap)

  /// Guarded by `state`, so the runtime need not check each access; by ascending address.
  @exclusivity(unchecked) nonisolated(unsafe) private var entries: [Entry] = []
  nonisolated(unsafe) private var stripeBytes: UInt64 = 0

  package init(devices: DeviceSet) { self.devices = devices }

  /// Adds a chunk. One that is there already, and equal, is left.
  package func add(_ chunk: Chunk) throws(FilesystemError) {
    let item = chunk.item
    let (end, overflow) = chunk.start.rawValue.addingReportingOverflow(item.length)
    guard item.length > 0, !overflow, item.length % 4096 == 0, chunk.start.rawValue % 4096 == 0,
      item.stripeLength == Format.stripeLength
    else {
      throw .corrupt("chunk \(chunk.start): length \(item.length)")
    }
    let added = item.length.multipliedReportingOverflow(by: UInt64(item.stripes.count))
    let entry = Entry(chunk: chunk, mirrors: try mirrors(of: chunk))

    try state.exclusive { () throws(FilesystemError) in
      let index = firstIndex(endingAfter: chunk.start)
      if index < entries.count {
        if entries[index].chunk == chunk { return }
        guard entries[index].chunk.start.rawValue >= end else {
          throw .corrupt("chunks \(entries[index].chunk.start) and \(chunk.start) overlap")
        }
      }
      let all = stripeBytes.addingReportingOverflow(added.partialValue)
      guard !added.overflow, !all.overflow, all.partialValue <= Int64.max else {
        throw .corrupt("chunk \(chunk.start): the chunks have more than 2^63 bytes")
      }
      stripeBytes = all.partialValue
      entries.insert(entry, at: index)
    }
  }

  /// Forgets a chunk: no extent of it is left, and nobody reads what was one. Says whether there was
  /// such a chunk.
  @discardableResult
  package func remove(_ chunk: Chunk) -> Bool {
    state.exclusive {
      let index = firstIndex(endingAfter: chunk.start)
      guard index < entries.count, entries[index].chunk == chunk else { return false }
      stripeBytes -= chunk.length * UInt64(chunk.item.stripes.count)
      entries.remove(at: index)
      return true
    }
  }

  private func mirrors(of chunk: Chunk) throws(FilesystemError) -> [DeviceAddress] {
    guard chunk.item.columns == 1 else { return [] }
    var mirrors: [DeviceAddress] = []
    for stripe in chunk.item.stripes {
      guard let device = devices[stripe.deviceID] else { continue }
      let (end, overflow) = stripe.offset.rawValue.addingReportingOverflow(chunk.length)
      guard !overflow, end <= device.sizeBytes else {
        throw .corrupt("chunk \(chunk.start) passes the end of the device")
      }
      mirrors.append(DeviceAddress(device: stripe.deviceID, offset: stripe.offset))
    }
    return mirrors
  }

  package func chunk(containing address: LogicalAddress) throws(FilesystemError) -> Chunk {
    try found(address) { $0.chunk }
  }

  /// Where the mirrors of the chunk begin that `address` lies in; none when it is elsewhere.
  package func mirrors(at address: LogicalAddress) throws(FilesystemError) -> [DeviceAddress] {
    try found(address) { $0.mirrors }
  }

  /// How many mirrors there are of what stands at `address`.
  package func mirrorCount(at address: LogicalAddress) throws(FilesystemError) -> Int {
    try found(address) { $0.mirrors.count }
  }

  /// Where one mirror of a range stands.
  package func segment(
    _ address: LogicalAddress, length: Int, mirror: Int
  ) throws(FilesystemError) -> DeviceAddress {
    enum Found { case place(DeviceAddress), elsewhere, outside }
    let found = try found(address) { entry -> Found in
      if entry.mirrors.isEmpty { return .elsewhere }
      let offset = address - entry.chunk.start
      guard UInt64(length) <= entry.chunk.length - offset, entry.mirrors.indices.contains(mirror)
      else { return .outside }
      return .place(entry.mirrors[mirror] + offset)
    }
    switch found {
    case .place(let place): return place
    case .elsewhere: throw .onOtherDevice(address)
    case .outside: throw .corrupt("the range of \(length) bytes at \(address) leaves its chunk")
    }
  }

  /// All chunks by ascending address.
  package var all: [Chunk] { state.shared { entries.map(\.chunk) } }

  @inline(__always)
  private func found<R>(
    _ address: LogicalAddress, _ body: (borrowing Entry) -> R
  ) throws(FilesystemError) -> R {
    let result = state.shared { () -> R? in
      let index = firstIndex(endingAfter: address)
      guard index < entries.count, entries[index].chunk.contains(address) else { return nil }
      return body(entries[index])
    }
    guard let result else { throw .corrupt("logical address \(address) is in no chunk") }
    return result
  }

  private func firstIndex(endingAfter address: LogicalAddress) -> Int {
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].chunk.end > address { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
