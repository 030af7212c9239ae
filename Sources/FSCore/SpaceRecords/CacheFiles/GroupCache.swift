/// A block group's free space cache, as far as `CacheFiles` remembers it.
///
/// 1. If `dumpedChange` equals the group's `changeCount` and `isInvalid` is false, then the
///    cache on the device (or the one that the running commit has written) is exact.
/// 2. `isInvalid` says that nobody believes what is on the device: there is no header item, or
///    the inode's generation is 0.
/// 3. A `setup` counts only while `setupGeneration` is the running transaction.
/// 4. The cache of a group that is read-only is neither set up nor written. When it is not exact any
///    more it is deleted: its file may stand in the group, which could not become empty.
struct GroupCache: Sendable {
  private(set) var state = DiskCacheState.written
  private var setupGeneration: Generation?
  /// The file that was preallocated then.
  private var file: CacheFileLocation?
  /// The transaction in which the file that was set up turned out to be too short: it is set up once
  /// more, as long as a cache can be.
  private var outgrownGeneration: Generation?
  /// The transaction in which a write-out failed: not tried again within it.
  private var failedGeneration: Generation?
  /// The transaction in which the cache could not be disowned, so that its superblock vouches for
  /// none.
  private var unvouchedGeneration: Generation?
  /// The value of the group's `changeCount` that the cache on the device describes.
  private var dumpedChange: UInt64? = 0
  private var isInvalid = false
  /// The transaction in which this mount has written the cache last.
  private(set) var writtenGeneration: Generation?
  /// Whether this mount has found the cache on the device to be whole.
  private var isRead = false
  /// Whether this mount has deleted the cache, and set up none since.
  private var isDeleted = false

  /// Whether this mount has written the cache: then clearing old ones leaves it alone.
  var isOurs: Bool { writtenGeneration != nil }

  /// Whether a group may be loaded from what is on the device.
  var isReadable: Bool { state == .written && !isInvalid }

  /// The value of the group's `changeCount` as of which the cache on the device is exact, where it is
  /// known to be there; else nil.
  var readableChange: UInt64? {
    isReadable && unvouchedGeneration == nil && (isOurs || isRead) ? dumpedChange : nil
  }

  /// The cache on the device was read, and believed.
  mutating func didRead() { isRead = true }

  /// Whether the cache on the device, or the one that the running commit has written, is exact.
  func isExact(_ group: BlockGroup.Moment) -> Bool {
    dumpedChange == group.changeCount && !isInvalid
  }

  /// Whether what is on the device would be believed, were the superblock to vouch for it. Not of
  /// one that was found to be wrong just now, for which the next commit is responsible.
  var mayBeBelieved: Bool { !isInvalid && unvouchedGeneration == nil && state != .clear }

  /// What transaction `generation` has to do next about the cache.
  ///
  /// - Parameter mayWrite: false once a commit has given up on writing more.
  func nextStep(
    _ group: BlockGroup.Moment, _ generation: Generation, maySetUp: Bool, mayWrite: Bool
  ) -> CacheStep {
    if isExact(group) { return .nothing }
    if group.isReadOnly {
      return isDeleted || unvouchedGeneration == generation ? .nothing : .delete
    }
    if mayWrite, group.loading == .loaded, failedGeneration != generation {
      if setupGeneration != generation {
        if maySetUp { return .setUp }
      } else if !group.hasDataInFlight {
        return .write
      }
    }
    return isInvalid || unvouchedGeneration == generation ? .nothing : .invalidate
  }

  /// Whether the file has to be as long as a cache of the group can be.
  func needsFullFile(_ generation: Generation) -> Bool { outgrownGeneration == generation }

  /// What was to be written does not fit the file. False when it is as long as can be already.
  mutating func didOutgrow(_ generation: Generation) -> Bool {
    guard outgrownGeneration != generation else { return false }
    outgrownGeneration = generation
    setupGeneration = nil
    return true
  }

  /// The file that this mount has set up last, if nothing has gone wrong since.
  var knownFile: CacheFileLocation? { failedGeneration == nil ? file : nil }

  /// The hidden inode has its file and generation 0.
  mutating func didSetUp(_ generation: Generation, _ newFile: CacheFileLocation) {
    file = newFile
    state = .setup
    setupGeneration = generation
    failedGeneration = nil
    isInvalid = true
    isDeleted = false
    unvouchedGeneration = nil
  }

  /// There is no header, no inode and no file any more.
  mutating func didDelete() {
    didInvalidate(.clear)
    isDeleted = true
    file = nil
    setupGeneration = nil
  }

  mutating func didFail(_ generation: Generation) {
    state = .error
    failedGeneration = generation
  }

  /// Nobody will believe what is on the device.
  mutating func didInvalidate(_ newState: DiskCacheState? = nil) {
    isInvalid = true
    unvouchedGeneration = nil
    dumpedChange = nil
    if let newState { state = newState }
  }

  /// The cache on the device would be believed if the commit of `generation` vouched for it.
  mutating func didFailToInvalidate(_ generation: Generation) {
    dumpedChange = nil
    failedGeneration = generation
    unvouchedGeneration = generation
  }

  /// The cache was found to be wrong, but nobody has been told yet.
  mutating func didLoseTrust() {
    state = .clear
    dumpedChange = nil
  }

  /// The file to write into; nil when none is set up by `generation`.
  mutating func beginWriting(_ generation: Generation) -> CacheFileLocation? {
    guard setupGeneration == generation else { return nil }
    // The same transaction may write a group more than once.
    if state == .written { state = .setup }
    return state >= .setup ? file : nil
  }

  /// The pages and items of the cache are those of the moment `change`.
  mutating func didWrite(_ change: UInt64, _ generation: Generation) {
    writtenGeneration = generation
    state = .written
    dumpedChange = change
    isInvalid = false
  }
}
