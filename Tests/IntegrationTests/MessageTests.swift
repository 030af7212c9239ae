import Glibc
import TestSupport
import Testing

extension MountTests {
  /// What the program says after a mistake, or when something is not allowed: one line
  /// that names the thing and says what to do.
  @Suite(.timeLimit(.minutes(5))) struct MessageTests {
    /// As user 1000, who can run the program and reach the image, but has no right to more.
    private func asUser(_ scratch: Scratch, _ arguments: String...) throws -> CommandResult {
      try Shell.run(
        [
          "setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "--",
          scratch.directory.file("fsmount"),
        ] + arguments, timeout: 30)
    }

    /// `unprivileged` can be mounted by user 1000 on `theirs`.
    private func prepare() throws -> Scratch {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      chmod(scratch.directory.path, 0o755)
      let program = scratch.directory.file("fsmount")
      try Shell.run("cp", FsmountProgram.required(), program).orThrow()
      chmod(program, 0o755)
      chown(scratch.image, 1000, 1000)
      chown(try scratch.directory.directory("theirs"), 1000, 1000)
      return scratch
    }

    private func expectLine(
      _ result: CommandResult, _ words: String..., location: SourceLocation = #_sourceLocation
    ) {
      expectRefusal(result, location: location)
      let lines = result.errors.split(separator: "\n")
      #expect(lines.count == 1, "\(result.summary)", sourceLocation: location)
      for word in words {
        #expect(result.errors.contains(word), "\(result.summary)", sourceLocation: location)
      }
    }

    @Test(.needsRoot, .timeLimit(.minutes(1)))
    func missingRights() throws {
      let scratch = try prepare()
      let theirs = scratch.directory.file("theirs")
      // Whether others may open it differs from machine to machine.
      var status = stat()
      try check("stat") { stat("/dev/fuse", &status) }
      defer { chmod("/dev/fuse", status.st_mode & 0o7777) }
      chmod("/dev/fuse", 0o600)
      expectLine(try asUser(scratch, "mount", scratch.image, theirs), "/dev/fuse", "chmod 666")
      chmod("/dev/fuse", 0o666)

      if !readText("/etc/fuse.conf").split(separator: "\n").contains("user_allow_other") {
        expectLine(
          try asUser(scratch, "mount", "-o", "allow_other", scratch.image, theirs),
          "'allow_other'", "user_allow_other", "/etc/fuse.conf")
      }
      expectLine(
        try asUser(scratch, "mount", scratch.image, scratch.mountPoint), scratch.mountPoint,
        "a directory of your own")
      chmod(scratch.image, 0o444)
      expectLine(try asUser(scratch, "mount", scratch.image, theirs), scratch.image, "-o ro")
      let readOnly = try asUser(scratch, "mount", "-o", "ro", scratch.image, theirs)
      #expect(readOnly.succeeded, "\(readOnly.summary)")
      let ended = try asUser(scratch, "unmount", theirs)
      #expect(ended.succeeded, "\(ended.summary)")
      chmod(scratch.image, 0o400)
      chown(scratch.image, 0, 0)
      expectLine(
        try asUser(scratch, "mount", "-o", "ro", scratch.image, theirs), scratch.image, "read")
    }

    /// A mount of another user's: that it may not be taken away is no matter of open files.
    @Test(.needsRoot, .timeLimit(.minutes(1)), arguments: ["", "allow_other"])
    func mountOfAnother(options: String) throws {
      let scratch = try prepare()
      let mounted = try scratch.mount(options)
      defer { mounted.killDaemon() }
      for place in [scratch.mountPoint, scratch.image] {
        let result = try asUser(scratch, "unmount", place)
        expectLine(result, scratch.mountPoint, "only the user who mounted it, or root")
      }
      try scratch.write("file", seed: 1, length: 10_000)
      #expect(try scratch.holds("file"))
      // Nor when its program has died.
      mounted.signal(SIGKILL)
      let deadline = monotonicSeconds() + 20
      while isRunning(mounted.processID), monotonicSeconds() < deadline { usleep(5_000) }
      expectLine(
        try asUser(scratch, "unmount", scratch.mountPoint), "only the user who mounted it, or root")
      #expect(MountTableEntry.at(scratch.mountPoint) != nil)
    }

    /// In a mount namespace of its own, where `/dev/fuse` is something else.
    @Test(.needsRoot, .timeLimit(.minutes(1)))
    func missingDevice() throws {
      let scratch = try prepare()
      func run(_ setUp: String) throws -> CommandResult {
        let program = try FsmountProgram.required()
        let command = "\(setUp) && '\(program)' mount '\(scratch.image)' '\(scratch.mountPoint)'"
        return try Shell.run("unshare", "-m", "sh", "-c", command, timeout: 30)
      }
      expectLine(try run("mount --bind /dev/null /dev/fuse"), "/dev/fuse", "mknod")
      let empty = "mount --rbind /dev/shm /mnt && mount -t tmpfs none /dev && "
      expectLine(
        try run(empty + "mkdir /dev/shm && mount --rbind /mnt /dev/shm"), "/dev/fuse", "modprobe")
    }

    @Test(.needsRoot, .timeLimit(.minutes(1)))
    func wrongThings() throws {
      let scratch = try prepare()
      let place = scratch.mountPoint
      let directory = scratch.directory.path
      let empty = scratch.directory.file("empty")
      try writeFile(BytePath(empty), [])
      let nothing = scratch.directory.file("nothing")
      expectLine(try FsmountProgram.run("mount", directory, place), directory, "regular file")
      expectLine(try FsmountProgram.run("mount", empty, place), empty, "0 bytes")
      expectLine(try FsmountProgram.run("mount", nothing, place), nothing, "fsmount mkfs")
      expectLine(try FsmountProgram.run("mount", scratch.image, nothing), nothing, "make it")
      expectLine(try FsmountProgram.run("mount", scratch.image, empty), empty, "directory")
      expectLine(
        try FsmountProgram.run("mount", "-o", "nope", scratch.image, place), "'nope'", "help mount")
      for (option, value) in [
        ("compress", "zstd:16"), ("compress-force", "zlib:x"), ("compress", "lz4"),
      ] {
        expectLine(
          try FsmountProgram.run("mount", "-o", "\(option)=\(value)", scratch.image, place),
          "'\(option)=\(value)'", "zstd:1 to zstd:15")
      }
      expectLine(try FsmountProgram.run("mkfs", directory), directory, "regular file")
      expectLine(try FsmountProgram.run("mkfs", nothing), nothing, "--size")
      expectLine(try FsmountProgram.run("cache", empty), empty, "0 bytes")
      expectLine(try FsmountProgram.run("unmount", place), place, "mount point")
      expectLine(try FsmountProgram.run("sync", place), place, "mount")

      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let other = scratch.directory.file("theirs")
      expectLine(try FsmountProgram.run("mount", scratch.image, place), place, "busy")
      expectLine(
        try FsmountProgram.run("mount", scratch.image, other), scratch.image, place,
        "fsmount unmount")
    }

    @Test func helpNamesTheDefaults() throws {
      let help = try FsmountProgram.run("mkfs", "--help").orThrow().output
      #expect(help.contains("default: crc32c"))
      #expect(!help.contains("default: 0"))
      let mountHelp = try FsmountProgram.run("mount", "--help").orThrow().output
      for text in [
        "default 256M", "space_cache=v2", "compress=zlib", "btrfs.compression",
        "default: as the image does",
      ] {
        #expect(mountHelp.contains(text), "\(text) is missing")
      }
    }
  }
}
