/// Test hooks of `CacheFiles`: faults to plant, and rules to break. All are nil outside tests.
package struct CacheFilesHooks: Sendable {
  /// Asked with a group's address: true means that a page of its file cannot be had.
  package var refusesPages: (@Sendable (LogicalAddress) -> Bool)?

  /// Asked with a group's address: an error means that writing its pages fails with it.
  package var writeFailure: (@Sendable (LogicalAddress) -> FilesystemError?)?

  /// Asked with a group's address: true means that there is no space to set its cache up.
  package var refusesSetup: (@Sendable (LogicalAddress) -> Bool)?

  /// Breaks the rule of synchronous completion: hands the end of the IO to this, as if to
  /// worker threads, and waits until they have run it. For the test that shows the deadlock.
  package var completesThrough: (@Sendable (@escaping @Sendable () -> Void) -> Void)?

  /// More dirty groups than this are written before the critical section, too.
  package var earlyWriteThreshold = 4

  package init() {}
}
