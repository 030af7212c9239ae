import Glibc
import TestSupport
import Testing

extension MountTests {
  /// Access control lists, modes and privilege bits: the same script on a mount by the kernel and
  /// on ours, and each side's image read by the other.
  @Suite struct PermissionTests {
    /// What the script prints in the directory `t` of the mount.
    private func run(_ parts: [String], in scratch: Scratch) throws -> [String] {
      let script = scratch.directory.file("script")
      let text = ([PermissionScript.prelude] + parts).joined(separator: "\n") + "\n"
      try writeFile(BytePath(script), Array(text.utf8))
      let directory = scratch.mountPoint + "/t"
      mkdir(directory, 0o755)
      let command = "cd '\(directory)' && sh '\(script)'"
      return try Shell.run("sh", "-c", command, timeout: 150).orThrow().text
        .split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    }

    private func expectSame(_ kernel: [String], _ ours: [String]) {
      #expect(kernel.count == ours.count)
      var shown = 0
      for (number, (theirs, own)) in zip(kernel, ours).enumerated() where theirs != own {
        shown += 1
        if shown > 10 { break }
        let context = ours[max(0, number - 6)..<number].joined(separator: "\n")
        Issue.record("kernel '\(theirs)', ours '\(own)', after:\n\(context)")
      }
    }

    private func compare(_ parts: [String]) throws {
      let theirs = try Scratch()
      try ImageVariant(name: "plain").makeWithKernelTools(theirs.image)
      chmod(theirs.directory.path, 0o755)
      let kernel = try theirs.mountByKernel()
      defer { try? kernel.unmount() }
      let expected = try run(parts, in: theirs)
      let kernelTree = try run([PermissionScript.everything], in: theirs)
      try kernel.unmount()

      let own = try Scratch()
      try own.make("--size", "1G")
      chmod(own.directory.path, 0o755)
      let mounted = try own.mount("allow_other", lifetime: 200)
      defer { try? mounted.unmount() }
      expectSame(expected, try run(parts, in: own))
      let ownTree = try run([PermissionScript.everything], in: own)
      try mounted.unmount()
      try own.expectSound()

      // Each other's images.
      let kernelAgain = try own.mountByKernel()
      defer { try? kernelAgain.unmount() }
      expectSame(try run([PermissionScript.everything], in: own), ownTree)
      try kernelAgain.unmount()
      try kernelAgain.expectCleanLog()
      let mountedAgain = try theirs.mount("allow_other", lifetime: 60)
      defer { try? mountedAgain.unmount() }
      expectSame(kernelTree, try run([PermissionScript.everything], in: theirs))
    }

    @Test(.needsRoot, .timeLimit(.minutes(4)))
    func accessControlLists() throws { try compare([PermissionScript.lists]) }

    @Test(.needsRoot, .timeLimit(.minutes(4)))
    func privilegeBits() throws { try compare([PermissionScript.privileges]) }

    /// Where nobody checks permissions lists are kept all the same, and nobody is kept out.
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
      let found = try run(script, in: scratch)
      #expect(found.contains("user:1001:rw-") && found.contains("./f 660 0:0 regular file"))
      #expect(found.contains("./d/f 664 0:0 regular file"))
      try mounted.unmount()
      let kernel = try scratch.mountByKernel()
      defer { try? kernel.unmount() }
      expectSame(
        try run([PermissionScript.everything], in: scratch),
        found)
    }
  }
}
