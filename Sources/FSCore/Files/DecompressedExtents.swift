/// The last few compressed extents that were read, decompressed. Lock rank: `leaf`.
///
/// An entry is right as long as its space holds the extent, and every reader of it has a file that
/// refers to that. The space gets other data only by being allocated: then `drop` is called,
/// before anything is written there.
final class DecompressedExtents: Sendable {
  private struct Entry {
    var address: LogicalAddress
    var diskLength: UInt64
    var content: AlignedBuffer
  }

  private let capacity: Int
  /// The most recently used last.
  private let entries = Guarded<[Entry]>([], rank: .leaf)

  init(capacity: Int) { self.capacity = capacity }

  func find(_ item: FileExtentItem) -> AlignedBuffer? {
    entries.withLock { entries in
      let index = entries.lastIndex {
        $0.address == item.diskAddress && $0.diskLength == item.diskLength
          && $0.content.count == Int(item.ramBytes)
      }
      guard let index else { return nil }
      if index != entries.count - 1 { entries.append(entries.remove(at: index)) }
      return entries[entries.count - 1].content
    }
  }

  func insert(_ item: FileExtentItem, _ content: AlignedBuffer) {
    entries.withLock { entries in
      if entries.count >= capacity { entries.removeFirst() }
      entries.append(
        Entry(address: item.diskAddress, diskLength: item.diskLength, content: content))
    }
  }

  /// Forgets what stood in space that was allocated anew.
  func drop(_ address: LogicalAddress, length: UInt64) {
    entries.withLock { entries in
      entries.removeAll {
        $0.address.rawValue < address.rawValue + length
          && $0.address.rawValue + $0.diskLength > address.rawValue
      }
    }
  }
}
