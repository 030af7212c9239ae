import Testing

extension MountTests {
  /// What chattr(1) sets and lsattr(1) shows: the same on a mount by the kernel and on ours.
  @Suite struct FileFlagTests {
    @Test(.needsRoot, .timeLimit(.minutes(2)))
    func flagsAreThoseOfLinux() throws {
      try ScriptComparison(FileFlagScript.all, everything: FileFlagScript.everything).run()
    }
  }
}
