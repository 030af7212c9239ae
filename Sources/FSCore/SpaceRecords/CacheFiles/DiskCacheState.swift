/// What is known of a block group's free space cache on the device.
///
/// Ordered: below `setup` means "do not write". The transitions:
///
///     any     → setup    `CacheFiles.setUp`: the file is preallocated in this transaction
///     setup   → written  `CacheFiles.writeOut`: the pages are those of this transaction
///     written → setup    the group changed again in the same transaction
///     any     → error    a write-out failed, or there was no room for the file
///     any     → clear    the cache was found not to be believable, or the user had it cleared
package enum DiskCacheState: UInt8, Comparable, Sendable {
  /// What is on the device is right, or there is nothing to write.
  case written
  /// A write-out failed or was refused: the cache on the device must not be believed.
  case error
  /// The cache on the device is stale and must be cleared before it is used again.
  case clear
  /// The hidden inode exists, and its whole file has been preallocated in this transaction.
  case setup

  package static func < (a: DiskCacheState, b: DiskCacheState) -> Bool {
    a.rawValue < b.rawValue
  }
}

/// Where a cache file stands: one extent.
struct CacheFileLocation: Sendable, Equatable {
  let inode: ObjectID
  let address: LogicalAddress
  let length: UInt64

  var end: LogicalAddress { address + length }
}

/// What a commit must do next for a group's cache on the device.
enum CacheStep: Sendable {
  case nothing
  /// Make the hidden inode and preallocate its file.
  case setUp
  case write
  /// Make sure that nobody believes what is on the device.
  case invalidate
  /// Delete it, as the group is being emptied.
  case delete
}
