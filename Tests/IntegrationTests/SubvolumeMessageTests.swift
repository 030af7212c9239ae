import Glibc
import TestSupport
import Testing

extension MountTests {
  /// What a person is told who has made a mistake with subvolumes, reflinks, balances, resizes and trims: one
  /// line, which names the thing, says what is wrong with it, and what can be done.
  @Suite(.timeLimit(.minutes(5))) struct SubvolumeMessageTests {
    private func expectLine(
      _ arguments: [String], _ words: String..., location: SourceLocation = #_sourceLocation
    ) throws {
      let result = try FsmountProgram.run(arguments, timeout: 60)
      expectRefusal(result, location: location)
      #expect(
        result.errors.split(separator: "\n").count == 1, "\(result.summary)",
        sourceLocation: location)
      #expect(result.errors.hasPrefix("fsmount: "), "\(result.summary)", sourceLocation: location)
      for word in words {
        #expect(
          result.errors.contains(word), "'\(word)' is not in \(result.summary)",
          sourceLocation: location)
      }
    }

    /// What could not be written to standard output is told.
    @Test func fullOutput() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "128M")
      let program = try FsmountProgram.required()
      for command in [
        "subvolume list -t", "subvolume list --json", "subvolume show", "subvolume get-default",
        "usage",
        "inspect super", "cache",
      ] {
        let result = try Shell.run(
          "sh", "-c", "exec '\(program)' \(command) '\(scratch.image)' > /dev/full")
        #expect(result.status == 32, "\(command): \(result.summary)")
        #expect(result.errors.contains("No space left"), "\(command): \(result.summary)")
      }
    }

    /// With -c deletions on each of the mounts are durable.
    @Test(.needsFuse) func deletionsOnTwoMounts() throws {
      let scratches = [try Scratch(), try Scratch()]
      var mounts: [FsmountMount] = []
      defer { for mount in mounts { mount.killDaemon() } }
      for scratch in scratches {
        try scratch.make("--size", "256M")
        mounts.append(try scratch.mount("commit=3600"))
        try FsmountProgram.run("subvolume", "create", "\(scratch.mountPoint)/s").orThrow()
        try FsmountProgram.run("sync", scratch.mountPoint).orThrow()
      }
      try FsmountProgram.run(
        ["subvolume", "delete", "-c"] + scratches.map { "\($0.mountPoint)/s" }
      ).orThrow()
      for (mount, scratch) in zip(mounts, scratches) {
        mount.killDaemon()
        let left = try FsmountProgram.run("subvolume", "list", scratch.image).orThrow()
        #expect(left.output == "", "\(left.summary)")
      }
    }

    @Test(.needsRoot) func subvolumes() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let root = scratch.mountPoint
      func run(_ arguments: String...) throws {
        try FsmountProgram.run(["subvolume"] + arguments).orThrow()
      }
      try run("create", "\(root)/p", "\(root)/p/one", "\(root)/p/two", "\(root)/q")
      try run("snapshot", "-r", "\(root)/p", "\(root)/r")
      try check("mkdir") { mkdir("\(root)/d", 0o755) }
      try writeFile(BytePath("\(root)/f"), [1])
      let s = "subvolume"

      try expectLine([s, "create", "\(root)/p"], "\(root)/p", "already exists")
      try expectLine(
        [s, "create", "\(root)/none/x"], "\(root)/none", "No such file", "make the directory")
      try expectLine([s, "create", "\(root)/f/x"], "\(root)/f", "not a directory")
      try expectLine([s, "create", ""], "empty")
      try expectLine([s, "create", "\(root)/.."], "\(root)/..", "name")
      let long = String(repeating: "x", count: 256)
      try expectLine([s, "create", "\(root)/\(long)"], "256 bytes", "255")
      try expectLine([s, "create", "\(root)/r/x"], "\(root)/r/x", "read-only", "set-rw")
      try expectLine([s, "create", "/tmp/fsmount-none"], "/tmp", "not in a mount", "fsmount mount")
      try expectLine([s, "create", "-p", "/proc/none/x"], "/proc", "not in a mount")
      try expectLine([s, "create", "\(scratch.image)/x"], scratch.image, "mounted on \(root)")

      try expectLine(
        [s, "snapshot", "\(root)/d", "\(root)/x"], "\(root)/d", "plain directory", "list")
      try expectLine([s, "snapshot", "\(root)/f", "\(root)/x"], "\(root)/f", "a file")
      try run("snapshot", "\(root)/p", "\(root)/q/")
      try expectLine([s, "snapshot", "\(root)/p", "\(root)/q"], "\(root)/q/p", "already exists")
      try expectLine(
        [s, "snapshot", "\(root)/p", "\(root)/none/x"], "\(root)/none", "No such file")
      let temporary = try TemporaryDirectory()
      let elsewhere = try temporary.directory("elsewhere")
      try expectLine(
        [s, "snapshot", "\(root)/p", elsewhere], "'\(root)/p'", elsewhere, "same mount")
      try expectLine([s, "snapshot", "\(root)/none", "\(root)/x"], "\(root)/none", "No such file")
      try expectLine(
        [s, "snapshot", "\(root)/q", "\(root)/r/x"], "\(root)/r/x", "read-only", "set-rw")

      try expectLine([s, "delete", "\(root)/p"], "\(root)/p", "not empty", "'p/one'", "'p/two'")
      try expectLine([s, "delete", "\(root)/d"], "\(root)/d", "plain directory")
      try expectLine([s, "delete", root], root, "top level")
      try expectLine([s, "delete", "\(root)/none"], "\(root)/none", "No such file")
      try run("set-default", "\(root)/q")
      try expectLine([s, "delete", "\(root)/q"], "\(root)/q", "default", "set another")
      let id = try FsmountProgram.run(s, "show", "\(root)/q").orThrow().output
        .split(separator: "\n").first { $0.contains("Subvolume ID") }?.split(separator: "\t").last
      try expectLine([s, "delete", "-i", String(try #require(id)), root], "default", "set-default")
      try run("set-default", "5", root)
      try expectLine([s, "delete", "-i", "5", root], "top level")
      try expectLine([s, "delete", "-i", "999", root], "no subvolume 999", "list")

      // The others are deleted.
      try run("create", "\(root)/x1", "\(root)/x2")
      try expectLine([s, "delete", "-c", "\(root)/x1", "\(root)/d", "\(root)/x2"], "\(root)/d")
      #expect(access("\(root)/x1", F_OK) != 0 && access("\(root)/x2", F_OK) != 0)

      try check("mkdir") { mkdir("\(root)/q/place", 0o755) }
      try Shell.run("mount", "-t", "tmpfs", "none", "\(root)/q/place").orThrow()
      try expectLine([s, "delete", "\(root)/q"], "\(root)/q", "\(root)/q/place", "unmount")
      try expectLine(
        [s, "delete", "-i", String(try #require(id)), root], "\(root)/q/place", "unmount")
      try Shell.run("umount", "\(root)/q/place").orThrow()
      // One in which a program works goes; what it has open stays with it.
      let open = Glibc.open("\(root)/q/place", O_RDONLY)
      try run("delete", "\(root)/q/p", "\(root)/q")
      close(open)

      try expectLine([s, "set-ro", "\(root)/d"], "\(root)/d", "plain directory")
      try expectLine([s, "set-rw", "\(root)/f"], "\(root)/f", "a file")
      try expectLine([s, "set-default", "\(root)/d"], "\(root)/d", "not a subvolume")
      try expectLine(
        [s, "set-default", "257"], "'257'", "any path in the mount", "set-default 257 PATH")
      try expectLine([s, "set-default", "x", root], "'x'", "number", "list")
      try expectLine([s, "set-default", "999", root], root, "no subvolume 999")
      for id in ["1", "2", "4", "7", "9", "18446744073709551607"] {
        try expectLine([s, "set-default", id, root], root, "no subvolume \(id)")
      }
      try expectLine([s, "show", "\(root)/d"], "\(root)/d", "plain directory")
      try expectLine([s, "list", "/proc"], "/proc", "not in a mount")
      try expectLine([s, "list", "/dev/null"], "/dev/null", "not in a mount")
      try expectLine([s, "list", "\(root)/none"], "\(root)/none", "No such file")
      try expectLine([s, "get-default", ""], "empty")
      // Files of a mount are no images.
      try expectLine([s, "list", "\(root)/f"], "\(root)/f", "superblock")
      try mounted.unmount()

      for command in [
        [s, "create", "\(scratch.image)/x"], [s, "set-ro", scratch.image],
        [s, "set-rw", scratch.image], [s, "delete", scratch.image],
        [s, "snapshot", scratch.image, "\(root)/x"], [s, "set-default", scratch.image],
        [s, "set-default", "5", scratch.image], [s, "delete", "-i", "257", scratch.image],
      ] {
        try expectLine(command, scratch.image, "an image that is not mounted", "fsmount mount")
      }
      let mount = ["mount", scratch.image, root, "-o"]
      try expectLine(mount + ["subvol=none"], "no subvolume none", "subvolume list")
      try expectLine(mount + ["subvol=d"], "d is not a subvolume", "subvolume list")
      try expectLine(mount + ["subvolid=999"], "no subvolume 999", "subvolume list")
      try expectLine(mount + ["subvol="], "path from the top level")
      try scratch.expectSound()
    }

    @Test(.needsRoot) func othersAndReadOnly() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      chmod(scratch.directory.path, 0o755)
      var mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let root = scratch.mountPoint
      try FsmountProgram.run("subvolume", "create", "\(root)/p").orThrow()
      try writeFile(BytePath("\(root)/f"), [1])
      let program = scratch.directory.file("fsmount")
      try Shell.run("cp", FsmountProgram.required(), program).orThrow()
      chmod(program, 0o755)
      for arguments in [
        ["list", root], ["list", "\(root)/p"], ["show", "\(root)/p"],
        ["get-default", "\(root)/p/x"],
        ["create", "\(root)/x"], ["create", "-p", "\(root)/x/y"], ["delete", "\(root)/p"],
        ["set-ro", "\(root)/p"], ["snapshot", "\(root)/p", "\(root)/x"],
      ] {
        let stranger = try Shell.run(
          ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", program, "subvolume"]
            + arguments)
        expectRefusal(stranger, naming: "Permission denied; a mount is for the user who made it")
      }
      try mounted.unmount()

      mounted = try scratch.mount("ro")
      for arguments in [
        ["subvolume", "create", "\(root)/x"], ["subvolume", "delete", "\(root)/p"],
        ["subvolume", "snapshot", "\(root)/p", "\(root)/x"], ["subvolume", "set-ro", "\(root)/p"],
        ["subvolume", "set-default", "\(root)/p"], ["balance", "start", root],
        ["resize", "max", root],
        ["trim", root], ["reflink", "\(root)/f", "\(root)/g"],
      ] {
        try expectLine(arguments, root, "read-only")
      }
      try mounted.unmount()
    }

    /// Where permissions are checked the user who mounted has no more of them than others: root without
    /// CAP_DAC_OVERRIDE.
    @Test(.needsRoot) func permissions() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let root = scratch.mountPoint
      for checks in [true, false] {
        let mounted = try scratch.mount(checks ? "default_permissions" : "")
        defer { try? mounted.unmount() }
        let number = checks ? 1 : 2
        let (own, closed) = ("\(root)/own\(number)", "\(root)/closed\(number)")
        try FsmountProgram.run("subvolume", "create", own, closed, "\(closed)/s").orThrow()
        for path in [closed, "\(closed)/s"] {
          try check("chown") { chown(path, 1000, 1000) }
          try check("chmod") { chmod(path, 0o555) }
        }
        let asRoot = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
        for arguments in [
          ["create", "\(closed)/x"], ["create", "-p", "\(closed)/y"],
          ["snapshot", own, "\(closed)/z"], ["set-ro", "\(closed)/s"],
          ["set-rw", "\(closed)/s"], ["delete", "\(closed)/s"],
        ] {
          let result = try Shell.run(
            asRoot + [FsmountProgram.required(), "subvolume"] + arguments)
          guard checks else {
            #expect(result.succeeded, "\(result.summary)")
            continue
          }
          expectRefusal(result, naming: "\(closed): Permission denied", "\(closed)/s: Permission")
        }
        try Shell.run(asRoot + [FsmountProgram.required(), "subvolume", "set-ro", own]).orThrow()
      }
      try scratch.expectSound()
    }

    /// A name with bytes that are no UTF-8 is not taken for one with U+FFFD in their place.
    @Test(.needsFuse) func namesThatAreNotUTF8() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let root = scratch.mountPoint
      try FsmountProgram.run("subvolume", "create", "\(root)/x", "\(root)/n\u{fffd}").orThrow()
      func run(_ script: String) throws -> CommandResult {
        try Shell.run("bash", "-c", script, FsmountProgram.required(), root)
      }
      try run(#"mv "$1/x" "$1"/n$'\xff' && ln -s n$'\xff' "$1/link""#).orThrow()
      for (command, words) in [
        (#"subvolume delete "$1"/n$'\xff'"#, ["argument 3", "UTF-8", "rmdir"]),
        (#"subvolume create "$1"/x$'\xff'"#, ["argument 3", "UTF-8"]),
        (#"subvolume set-ro "$1"/n$'\xff'"#, ["argument 3", "UTF-8"]),
        (#"unmount "$1"/n$'\xff'"#, ["argument 2", "UTF-8"]),
        (#"stats $'\xc3'"#, ["argument 2", "UTF-8"]),
      ] {
        let result = try run(#"exec "$0" "# + command)
        #expect(result.status == 1, "\(result.summary)")
        for word in words { #expect(result.errors.contains(word), "\(result.summary)") }
      }
      // What leads there.
      for script in [
        #"cd "$1"/n$'\xff' && "$0" subvolume delete ."#, #""$0" subvolume delete "$1/link""#,
        #"cd "$1"/n$'\xff' && "$0" subvolume snapshot . "$1""#,
      ] {
        let result = try run(script)
        expectRefusal(result, naming: "UTF-8")
      }
      #expect(access("\(root)/n\u{fffd}", F_OK) == 0)
      try run(#"rmdir "$1"/n$'\xff' && test -d "$1"/$'n\xef\xbf\xbd'"#).orThrow()
    }

    /// On a mount of Linux's own.
    @Test(.needsRoot) func linuxsMount() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mount = try LoopMount(scratch.image, at: scratch.mountPoint)
      defer { try? mount.unmount() }
      for command in [
        ["subvolume", "list"], ["subvolume", "set-ro"], ["subvolume", "delete"], ["stats"],
      ] {
        try expectLine(command + [scratch.mountPoint], "Linux's own btrfs", "'btrfs subvolume'")
      }
    }

    @Test(.needsFuse) func others() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let root = scratch.mountPoint
      try writeFile(BytePath("\(root)/f"), [1, 2, 3])
      try writeFile(BytePath("\(root)/g"), [1, 2, 3])
      for command in [["balance", "start"], ["resize", "max"], ["trim"], ["sync"], ["stats"]] {
        try expectLine(command + ["/proc"], "/proc", "not in a mount", "findmnt")
        try expectLine(command + ["\(root)/none"], "\(root)/none", "No such file")
        try expectLine(command + [scratch.image], scratch.image, "mounted on \(root)")
      }
      try expectLine(["balance", "start", "-s", root], "--force")
      try expectLine(["balance", "start", "-dusage=foo", root], "'foo'")
      try expectLine(["balance", "start", "-dwhat=1", root], "'what'", "usage")
      try expectLine(["balance", "pause", root], "no balance")
      try expectLine(["resize", "1M", root], "1048576", "smaller")
      try expectLine(["resize", "-1T", root], "256 MiB")
      try expectLine(["reflink", "\(root)/f", "\(root)/g"], "\(root)/g", "--force")
      try expectLine(["reflink", "", "\(root)/h"], "empty")
      try expectLine(["reflink", "\(root)/f", ""], "empty")
      let long = String(repeating: "x", count: 300)
      try expectLine(["reflink", "\(root)/f", "\(root)/\(long)"], "300 bytes", "255")
      try expectLine(["mout", scratch.image, root], "'mout'", "--help")
      try expectLine(["snapshot", root, "\(root)/x"], "'fsmount subvolume snapshot'")
      try expectLine(["subvolume", "create", "-dash"], "'-dash'", "./-dash")
      try expectLine(["balance", "begin", root], "'begin'", "fsmount balance", "start, status")
      try expectLine(["subvolume", "remove", root], "'remove'", "create, delete")
    }
  }
}
