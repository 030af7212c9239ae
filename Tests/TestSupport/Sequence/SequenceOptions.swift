/// What `OperationSequence` does.
package struct SequenceOptions: Sendable {
  package var seed: UInt64
  package var operations = 1_000
  /// Beyond it, more is removed than made.
  package var entryLimit = 500
  package var maximumFileSize = 512 << 10
  /// Compare what SEEK_DATA and SEEK_HOLE say exactly, not only where there is data.
  package var exactHoles = false
  /// Preallocate beyond the end of files. Where holes have items Linux 6.18 writes too small a size
  /// for some such files: after a remount they are shorter than they were, for Linux itself, too.
  package var allocatesBeyondTheEnd = true
  /// Most of what is written can be compressed.
  package var isCompressible = false
  /// Makes, changes and deletes subvolumes, too, by this tool.
  package var subvolumes: SubvolumeTool?
  /// Which of those that are there are read-only.
  package var readOnlySubvolumes: Set<BytePath> = []
  /// One `fsync` in so many operations.
  package var syncInterval = 40

  package init(seed: UInt64) { self.seed = seed }
}

/// Names that are hard on directories: short, long, of arbitrary bytes, and with equal hashes.
struct NamePool {
  private let colliding: [[UInt8]]
  let collidingAttributes: [[UInt8]]

  init() {
    colliding = NameHash.collidingNames(stem: "hash", count: 6)
    collidingAttributes = NameHash.collidingNames(stem: "user.hash", count: 5)
  }

  func name(_ random: inout SeededRandom) -> [UInt8] {
    switch random.below(20) {
    case 0: return colliding[random.below(colliding.count)]
    case 1:
      let letter = UInt8(ascii: "a") + UInt8(random.below(26))
      let tail = Array("\(random.below(20))".utf8)
      return [UInt8](repeating: letter, count: 255 - tail.count) + tail
    case 2:
      return (0...random.below(12)).map { _ in
        let byte = UInt8(truncatingIfNeeded: random.next())
        // Never `.` alone, and never the separator.
        return byte == 0 || byte == UInt8(ascii: "/") || byte == UInt8(ascii: ".") ? 0xff : byte
      }
    case 3: return Array("name-\(random.below(1_000_000))-\(random.below(1000))".utf8)
    default: return Array("n\(random.below(60))".utf8)
    }
  }

  func attributeName(_ random: inout SeededRandom) -> [UInt8] {
    switch random.below(10) {
    case 0, 1: return collidingAttributes[random.below(collidingAttributes.count)]
    case 2: return Array("trusted.t\(random.below(4))".utf8)
    case 3:
      let letter = UInt8(ascii: "a") + UInt8(random.below(4))
      return Array("user.".utf8) + [UInt8](repeating: letter, count: 250)
    default: return Array("user.u\(random.below(8))".utf8)
    }
  }
}
