import Glibc

/// The order in which one thread may take locks: only a higher rank than all that it holds.
///
/// Where several locks of one rank are taken together (`inode`, `fileContent`), they are taken
/// in ascending order of their inode's id. In debug builds a wrong order traps (`HeldLocks`).
package enum LockRank: UInt8, Comparable, Sendable {
  /// One rename of a directory into another directory at a time.
  case rename
  /// Names, attributes and existence of an inode.
  case inode
  /// The bytes and extents of a file.
  case fileContent
  /// The set of buffered bytes of a file.
  case fileBuffer
  /// Space is made allocatable because it ran short.
  case reservation
  /// One commit at a time.
  case commit
  /// Shared by whoever changes trees, exclusive to the commit.
  case transactionGate
  /// The free space inodes; taken inside the gate by the commit alone.
  case freeSpaceInode
  /// Looking at a data checksum item and changing it, as one step.
  case dataChecksums
  /// No lock, but what `ReuseGuard` counts: in it no commit is waited for.
  case spaceReuse
  /// Any tree but the extent tree.
  case tree
  /// A look at, or a change of, how often an extent is referenced.
  case extentReferences
  case extentTree
  /// The queue of reference changes that are not in the extent tree yet.
  case delayedReferences
  case spaceManager
  case blockGroup
  case chunkMap
  case blockCache
  /// Anything that calls nothing while it is held.
  case leaf
  /// Where pages come from, and go when an object ends, under whatever lock that is.
  case pageMemory
  /// The lines of a log that are not written yet: one may come under any lock.
  case log

  package static func < (a: LockRank, b: LockRank) -> Bool { a.rawValue < b.rawValue }
}
