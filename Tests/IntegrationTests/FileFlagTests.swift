import TestSupport
import Testing

extension MountTests {
  /// What chattr(1) sets and lsattr(1) shows: the same on a mount by the kernel and on ours.
  @Suite(.timeLimit(.minutes(5))) struct FileFlagTests {
    @Test(.needsRoot, .timeLimit(.minutes(2)))
    func flagsAreThoseOfLinux() throws {
      try ScriptComparison(FileFlagScript.all, everything: FileFlagScript.everything).run()
    }

    /// The kernel may write what was appended together with the rest of its page.
    @Test(.needsRoot, .timeLimit(.minutes(1)), arguments: ["rw", "writeback_cache"])
    func appendedDataAreKept(_ option: String) throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      var mounted = try scratch.mount(option)
      defer { try? mounted.unmount() }
      let script = """
        cd "$1" && printf one > file && sync file && chattr +a file &&
        printf two >> file && sync file && printf three >> file
        """
      try Shell.run("bash", "-c", script, "bash", scratch.mountPoint).orThrow()
      try mounted.unmount()

      mounted = try scratch.mount()
      #expect(try readFile(scratch.root.appending("file")) == Array("onetwothree".utf8))
      try mounted.unmount()
      try scratch.expectSound()
    }
  }
}
