/// What was done about cache files since the volume was mounted, beyond what `RecordStatistics` has: for
/// measurements and tests.
package struct CacheFileCounts: Sendable, Equatable {
  /// Files that were made as long as can be, as a shorter one was outgrown.
  package var outgrown = 0
  /// Files that were written before critical sections, and their bytes on the device.
  package var writtenEarly = 0
  package var bytesWrittenEarly: UInt64 = 0
  /// Files that were written in critical sections, and their bytes on the device.
  package var writtenInside = 0
  package var bytesWrittenInside: UInt64 = 0

  package init() {}
}
