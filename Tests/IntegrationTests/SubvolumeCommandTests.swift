import Glibc
import TestSupport
import Testing

extension MountTests {
  /// `fsmount subvolume` over a real mount.
  @Suite(.timeLimit(.minutes(5))) struct SubvolumeCommandTests {
    private func subvolume(_ arguments: [String]) throws -> CommandResult {
      try FsmountProgram.run(["subvolume"] + arguments, timeout: 60)
    }

    private func exists(_ path: String) -> Bool {
      var status = stat()
      return lstat(path, &status) == 0
    }

    @Test(.needsFuse) func lifeOfASubvolume() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "512M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let root = scratch.mountPoint

      let created = try subvolume(["create", "\(root)/p"]).orThrow().output
      #expect(created.contains("Create subvolume '\(root)/p'"))
      try scratch.write("p/f", seed: 1, length: 300_000)
      try subvolume(["create", "\(root)/p/n"]).orThrow()
      let taken = try subvolume(["snapshot", "\(root)/p", "\(root)/s"]).orThrow().output
      #expect(taken.contains("Create a snapshot of '\(root)/p' in '\(root)/s'"))
      try subvolume(["snapshot", "-r", "\(root)/p", "\(root)/r"]).orThrow()
      // What is in them is seen at once.
      for name in ["p", "s", "r"] { #expect(try scratch.holds("\(name)/f")) }
      #expect(exists("\(root)/s/n"))
      #expect(open("\(root)/r/new", O_CREAT | O_WRONLY, 0o600) < 0 && errno == EROFS)
      try scratch.write("p/f", seed: 2, length: 300_000)

      let list = try subvolume(["list", root]).orThrow().output
      let paths = list.split(separator: "\n").map { $0.split(separator: " ").last.map(String.init) }
      #expect(paths == ["p", "p/n", "s", "r"])
      #expect(try subvolume(["list", "-r", root]).orThrow().output.hasSuffix("path r\n"))
      let shown = try subvolume(["show", "\(root)/p"]).orThrow().output
      #expect(shown.contains("\tName: \t\t\tp\n") && shown.contains("\t\t\t\ts\n"))
      #expect(
        try subvolume(["list", "--json", root]).orThrow().output.contains("\"path\" : \"p/n\""))

      #expect(try subvolume(["get-default", root]).orThrow().output == "ID 5 (FS_TREE)\n")
      try subvolume(["set-default", "\(root)/p/n"]).orThrow()
      #expect(try subvolume(["get-default", root]).orThrow().output.hasSuffix("path p/n\n"))
      expectRefusal(try subvolume(["delete", "\(root)/p/n"]), naming: "default")
      try subvolume(["set-default", "5", root]).orThrow()
      expectRefusal(try subvolume(["delete", "\(root)/p"]), naming: "not empty")

      try subvolume(["set-rw", "\(root)/r"]).orThrow()
      try subvolume(["set-ro", "\(root)/s"]).orThrow()
      #expect(open("\(root)/s/new", O_CREAT | O_WRONLY, 0o600) < 0 && errno == EROFS)
      let deleted = try subvolume(["delete", "\(root)/s", "\(root)/r"]).orThrow().output
      #expect(deleted.contains("Delete subvolume (no-commit): '\(root)/s'"))
      #expect(!exists("\(root)/s") && !exists("\(root)/r"))
      #expect(rmdir("\(root)/p/n") == 0)
      try subvolume(["delete", "-c", "\(root)/p"]).orThrow()
      #expect(try subvolume(["list", root]).orThrow().output.isEmpty)
      try subvolume(["create", "\(root)/last"]).orThrow()
      try mounted.unmount()
      #expect(try subvolume(["list", scratch.image]).orThrow().output.hasSuffix("path last\n"))
      #expect(
        try subvolume(["show", scratch.image]).orThrow().output.contains("\tName: \t\t\t<FS_TREE>"))
      try scratch.expectSound()
    }

    @Test(.needsFuse) func refusals() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let root = scratch.mountPoint
      try subvolume(["create", "\(root)/p"]).orThrow()
      try check("mkdir") { mkdir("\(root)/d", 0o755) }
      expectRefusal(try subvolume(["create", "\(root)/p"]), naming: "already exists")
      expectRefusal(try subvolume(["create", "\(root)/none/p"]), naming: "No such file")
      expectRefusal(try subvolume(["create", "\(root)/.."]), naming: "name")
      expectRefusal(
        try subvolume(["snapshot", "\(root)/d", "\(root)/s"]), naming: "not a subvolume")
      expectRefusal(try subvolume(["snapshot", "\(root)/p", "/tmp/s"]), naming: "same mount")
      expectRefusal(try subvolume(["delete", "\(root)/d"]), naming: "not a subvolume")
      expectRefusal(try subvolume(["delete", root]), naming: "top level")
      expectRefusal(try subvolume(["delete", "\(root)/none"]), naming: "No such file")
      expectRefusal(try subvolume(["set-default", "999", root]), naming: "no subvolume 999")
      expectRefusal(try subvolume(["set-ro", "\(root)/d"]), naming: "not a subvolume")
      expectRefusal(try subvolume(["show", "\(root)/d"]), naming: "not a subvolume")
      try mounted.unmount()
      try scratch.expectSound()
    }
  }
}
