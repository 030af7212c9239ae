import Glibc
import TestSupport
import Testing

extension MountTests {
  /// Access control lists, modes and privilege bits: the same script on a mount by the kernel and
  /// on ours, and each side's image read by the other.
  @Suite(.timeLimit(.minutes(5))) struct PermissionTests {
    private func compare(_ script: String) throws {
      try ScriptComparison(script, everything: PermissionScript.everything).run()
    }

    @Test(.needsRoot, .timeLimit(.minutes(4)))
    func accessControlLists() throws { try compare(PermissionScript.lists) }

    @Test(.needsRoot, .timeLimit(.minutes(4)))
    func privilegeBits() throws { try compare(PermissionScript.privileges) }

    /// Where permissions are not checked lists are kept all the same, and no user is kept out.
    @Test(.needsRoot, .timeLimit(.minutes(1)))
    func listsAreKeptWhereNobodyChecks() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let script = [
        "echo x > f; setfacl -m u:1001:rw,m::r f; chmod 660 f; mkdir d",
        "setfacl -d -m u:1002:rwx d; (umask 077; echo x > d/f); \(PermissionScript.everything)",
      ]
      let found = try ScriptComparison.run(script, in: scratch)
      #expect(found.contains("user:1001:rw-") && found.contains("./f 660 0:0 regular file"))
      #expect(found.contains("./d/f 664 0:0 regular file"))
      try mounted.unmount()
      let kernel = try scratch.mountByKernel()
      defer { try? kernel.unmount() }
      ScriptComparison.expectSame(
        try ScriptComparison.run([PermissionScript.everything], in: scratch), found)
    }
  }
}
