import Glibc
import TestSupport
import Testing

extension MountTests {
  /// The control channel over a real mount, as the user who mounted it and as others.
  @Suite(.timeLimit(.minutes(5))) struct ControlChannelTests {
    private static let stranger = [
      "setpriv", "--reuid", "1001", "--regid", "1001", "--clear-groups",
    ]

    /// What `Documentation/control-channel.md` describes, in perl: sends a text, and prints that of
    /// the first part of the answer, or the errno of the ioctl.
    private static let client = """
      open(F, "<", $ARGV[0]) or die "open: $!";
      my $message = pack("VVQ<VVa*", length($ARGV[1]), 0, 0, 0, 0, $ARGV[1]);
      $message .= "\\0" x (12288 - length($message));
      ioctl(F, 0xf000f502, $message) or do { print "ioctl: $!"; exit };
      my ($length) = unpack("V", $message);
      print substr($message, 24, $length);
      """

    private func ask(
      _ path: String, _ request: String, as user: [String] = []
    ) throws -> String {
      try Shell.run(user + ["perl", "-e", Self.client, path, request]).orThrow().output
    }

    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func theOneWhoMountedIsAnswered() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount("commit=300")
      defer { try? mounted.unmount() }
      try scratch.write("file", seed: 1, length: 100_000)

      let request = #"{"version":1,"command":"commands"}"#
      for path in [scratch.mountPoint, scratch.mountPoint + "/file"] {
        let answer = try ask(path, request)
        #expect(answer.contains(#""ok":true"#) && answer.contains(#""name":"stats""#), "\(answer)")
      }
      #expect(try ask(scratch.mountPoint, "[").contains("EINVAL"))
      #expect(try ask("/proc", request).hasPrefix("ioctl: "))

      // Whatever was asked, the mount goes on.
      #expect(try scratch.holds("file"))
      try mounted.unmount()
      try scratch.expectSound()
    }

    /// Root mounts for all, and another user may work in the mount but not control it.
    @Test(.needsRoot, .timeLimit(.minutes(1)))
    func otherUsersAreRefused() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      chmod(scratch.directory.path, 0o755)
      let mounted = try scratch.mount("allow_other")
      defer { try? mounted.unmount() }

      for command in ["stats", "usage", "commands", "nonsense"] {
        let request = #"{"version":1,"command":"\#(command)"}"#
        let answer = try ask(scratch.mountPoint, request, as: Self.stranger)
        #expect(answer.contains(#""errno":"EPERM""#), "\(command): \(answer)")
      }
      // The same rule for the ioctl that everybody knows.
      #expect(try Shell.run(Self.stranger + ["fstrim", scratch.mountPoint]).status != 0)

      let program = try FsmountProgram.required()
      for command in ["stats", "usage"] {
        let result = try Shell.run(Self.stranger + [program, command, scratch.mountPoint])
        expectRefusal(result, naming: "only the user who mounted it, and root")
      }
      try FsmountProgram.run("stats", scratch.mountPoint).orThrow()
    }

    /// An ordinary user mounts: that one and root may control the mount, and a third cannot.
    @Test(.needsRoot, .needsFuseForAll, .timeLimit(.minutes(1)))
    func anOrdinaryUserControlsItsOwnMount() throws {
      let user = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"]
      try #require(Shell.find("fusermount3") != nil)
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      for path in [scratch.directory.path, scratch.mountPoint, scratch.image] {
        chmod(path, path == scratch.image ? 0o600 : 0o755)
        chown(path, 1000, 1000)
      }
      let configuration = readText("/etc/fuse.conf")
      let mayLetIn = configuration.split(separator: "\n").contains("user_allow_other")
      let program = try FsmountProgram.required()
      let options = mayLetIn ? ["-o", "allow_other"] : []
      try Shell.run(user + [program, "mount"] + options + [scratch.image, scratch.mountPoint])
        .orThrow()
      defer { _ = try? Shell.run(["umount", "-l", scratch.mountPoint]) }

      let own = try Shell.run(user + [program, "stats", "--json", scratch.mountPoint]).orThrow()
      #expect(own.output.contains(#""generation""#))
      try Shell.run(user + [program, "usage", scratch.mountPoint]).orThrow()
      let (file, clone) = (scratch.mountPoint + "/file", scratch.mountPoint + "/clone")
      try Shell.run(user + ["sh", "-c", "seq 9999 > \(file)"]).orThrow()
      try Shell.run(user + [program, "reflink", file, clone]).orThrow()
      try Shell.run(user + ["cmp", file, clone]).orThrow()
      let (volume, snapshot) = (scratch.mountPoint + "/volume", scratch.mountPoint + "/snapshot")
      for command in [
        ["sync", scratch.mountPoint], ["trim", scratch.mountPoint],
        ["balance", "start", "-dusage=90", scratch.mountPoint],
        ["resize", "+64M", scratch.mountPoint], ["resize", "-32M", scratch.mountPoint],
        ["subvolume", "create", volume], ["subvolume", "snapshot", volume, snapshot],
        ["subvolume", "set-ro", snapshot], ["subvolume", "list", scratch.mountPoint],
        ["subvolume", "set-default", volume], ["subvolume", "delete", snapshot],
      ] {
        try Shell.run(user + [program] + command).orThrow()
      }
      let other = try Shell.run(Self.stranger + [program, "stats", scratch.mountPoint])
      #expect(other.status != 0)
      if mayLetIn {
        try Shell.run([program, "stats", scratch.mountPoint]).orThrow()
        expectRefusal(other, naming: "only the user who mounted it")
      }
      try unmountWhenIdle { try Shell.run(user + [program, "unmount", scratch.mountPoint]) }
        .orThrow()
      try scratch.expectSound()
    }
  }
}
