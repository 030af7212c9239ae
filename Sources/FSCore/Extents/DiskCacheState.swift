/// What is known of a block group's free space cache on the device.
///
/// Ordered: below `setup` means "do not write". The transitions:
///
///     any     → setup    `CacheWriter.setUp`: the file is preallocated in this transaction
///     setup   → written  `CacheWriter.writeOut`: the pages are those of this transaction
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

/// What a mount does with free space caches.
package enum CacheMode: Sendable, Equatable {
  /// Caches are believed, and written at every commit.
  case kept
  /// Caches are deleted, and none is written (`nospace_cache`).
  case none
}

/// A block group's free space cache, as far as the block group must know it: part of the
/// group's guarded state.
///
/// 1. If `dumpedChange` equals the group's `changeCount` and `isInvalid` is false, then the
///    cache on the device (or the one that the running commit has written) is exact.
/// 2. `isInvalid` says that nobody believes what is on the device: there is no header item, or
///    the inode's generation is 0.
/// 3. A `setup` counts only while `setupGeneration` is the running transaction.
struct DiskCacheRecord: Sendable {
  var state = DiskCacheState.written
  var setupGeneration: Generation?
  /// The file that was preallocated then.
  var file: CacheFileLocation?
  /// The transaction in which a write-out failed: not tried again within it.
  var failedGeneration: Generation?
  /// The value of the group's `changeCount` that the cache on the device describes.
  var dumpedChange: UInt64? = 0
  var isInvalid = false
  /// Whether this mount has written the cache: then clearing old ones leaves it alone.
  var isOurs = false
}

/// Where a cache file stands: one extent.
struct CacheFileLocation: Sendable, Equatable {
  let inode: ObjectID
  let address: LogicalAddress
  let length: UInt64
}
