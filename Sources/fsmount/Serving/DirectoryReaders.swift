import CFuse
import FSCore
import Synchronization

/// What the kernel's requests tell of the programs that read directories, and what follows from it.
///
/// 1. The kernel's first request for a directory always asks for attributes; the ones
///    that follow do so only if attributes were used meanwhile. Attributes cost more than names,
///    here and in the kernel. So the first answer is short, unless the last request that could
///    tell asked for attributes.
/// 2. Keeping a listing costs the kernel more than reading it. So it is asked to do that only for
///    a directory that is opened again.
final class DirectoryReaders: Sendable {
  /// Entries in a short answer: those of a small directory, with "." and "..".
  private static let shortAnswer = 18

  /// Whether the last reader that got beyond a first answer used attributes.
  private let wantsAttributes = Atomic<Bool>(false)

  /// Directories that were read lately, each in the slot of its number. One that loses its slot
  /// to another only loses its being kept. Lock rank: `leaf`.
  private let read = Guarded([fuse_ino_t](repeating: 0, count: 1024), rank: .leaf)

  private static func slot(_ number: fuse_ino_t) -> Int {
    Int(truncatingIfNeeded: (number ^ number >> 40) % 1024)
  }

  /// Whether the kernel is to keep the listing of a directory that is being opened.
  func mustKeep(_ number: fuse_ino_t) -> Bool {
    read.withLock { $0[Self.slot(number)] == number }
  }

  /// Takes note of a request, and says how many entries the answer may have.
  func note(_ number: fuse_ino_t, from offset: off_t, withAttributes: Bool) -> Int {
    guard offset == 0 else {
      wantsAttributes.store(withAttributes, ordering: .relaxed)
      return .max
    }
    read.withLock { $0[Self.slot(number)] = number }
    let isShort = withAttributes && !wantsAttributes.load(ordering: .relaxed)
    return isShort ? Self.shortAnswer : .max
  }
}
