/// What was done about caches since the volume was mounted.
package struct CacheFileCounts: Sendable, Equatable {
  /// Files that were made, or made anew.
  package var setUps = 0
  /// Of these, the ones that were made as long as can be, as a shorter one was outgrown.
  package var outgrown = 0
  /// Caches that were not written though they were set up, or not set up though they should be.
  package var failures = 0
  /// Files that were written before critical sections, and their bytes on the device.
  package var writtenEarly = 0
  package var bytesWrittenEarly: UInt64 = 0
  /// Files that were written in critical sections, and their bytes on the device.
  package var writtenInside = 0
  package var bytesWrittenInside: UInt64 = 0

  package init() {}
}
