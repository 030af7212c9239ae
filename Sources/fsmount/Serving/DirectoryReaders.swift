import CFuse
import FSCore
import Synchronization

/// What the kernel's requests tell of the programs that read directories, and what follows from it.
///
/// 1. The kernel's first request for a directory always asks for attributes; the ones
///    that follow do so only if names were looked up meanwhile. Attributes cost more than names,
///    here and in the kernel. So the first answer is short, unless attributes are likely to be used:
///    else the kernel asks for them file by file, which costs most.
/// 2. They are likely to be used after a reader of names alone went on to look up files among
///    them, or after a request beyond the first one asked for attributes. That holds for some
///    directories and is tried anew then, as nobody sees whether attributes that came with names
///    were used.
/// 3. Keeping a listing costs the kernel more than reading it. So it is asked to do that only for
///    a directory that is opened again.
final class DirectoryReaders: Sendable {
  /// Entries in a short answer: those of a small directory, with "." and "..".
  private static let shortAnswer = 18

  /// For so many directories it holds that attributes are likely to be used.
  static let lasting = 64
  /// So many lookups in one directory show it: a program that lists names may look some file up, too.
  static let tellingLookups = 4

  /// How many first answers are still to have all attributes.
  private let longAnswers = Atomic<Int>(0)

  /// The directory of which names alone were listed last, and how many of its files were looked up
  /// since.
  private let namesOnly = Atomic<UInt64>(0)
  private let lookups = Atomic<Int>(0)

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
      if withAttributes {
        longAnswers.store(Self.lasting, ordering: .relaxed)
      } else if namesOnly.exchange(UInt64(number), ordering: .relaxed) != UInt64(number) {
        lookups.store(0, ordering: .relaxed)
      }
      return .max
    }
    read.withLock { $0[Self.slot(number)] = number }
    guard withAttributes else { return .max }
    let left = longAnswers.load(ordering: .relaxed)
    guard left > 0 else { return Self.shortAnswer }
    // Of two threads that both take the last one, one takes nothing from anybody.
    longAnswers.store(left - 1, ordering: .relaxed)
    return .max
  }

  /// Takes note that a name was looked up, and found, in a directory. A reader of names alone looks up
  /// the directories that it goes on to.
  @inline(__always)
  func noteLookup(in directory: fuse_ino_t, isDirectory: Bool) {
    guard namesOnly.load(ordering: .relaxed) == UInt64(directory), !isDirectory else { return }
    let count = lookups.add(1, ordering: .relaxed).newValue
    if count == Self.tellingLookups { longAnswers.store(Self.lasting, ordering: .relaxed) }
  }
}
