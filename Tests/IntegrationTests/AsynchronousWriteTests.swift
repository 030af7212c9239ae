import Glibc
import TestSupport
import Testing

extension MountTests {
  /// Writes by io_submit(2) with O_DIRECT, eight at a time.
  @Suite(.timeLimit(.minutes(2))) struct AsynchronousWriteTests {
    /// Writes until something is refused, and prints which errors there were, each once; then shuts the
    /// mount down, and prints how that went and what the next writes are told.
    private static let program = """
      use strict;
      my ($path, $directory) = @ARGV;
      use constant { SETUP => 206, GETEVENTS => 208, SUBMIT => 209, PART => 1 << 20, AT_ONCE => 8 };
      sysopen(my $file, $path, 040000 | 0100 | 02, 0644) or die "open: $!";
      my $room = "x" x (PART + 4096);
      my $start = (unpack("Q", pack("P", $room)) + 4095) & ~4095;
      my $context = pack("Q", 0);
      syscall(SETUP, AT_ONCE, $context) == 0 or die "io_setup: $!";
      $context = unpack("Q", $context);
      my $offset = 0;

      sub batch {
        my @requests = map {
          my $request = pack("QLLSsLQQqQLL", $_, 0, 0, 1, 0, fileno($file), $start, PART,
            $offset + $_ * PART, 0, 0, 0);
          $request;
        } 0..AT_ONCE - 1;
        $offset += AT_ONCE * PART;
        my $list = pack("P" x AT_ONCE, @requests);
        my $count = syscall(SUBMIT, $context, AT_ONCE, $list);
        $count > 0 or return { -$! + 0 => 1 };
        my $events = "\\0" x (32 * AT_ONCE);
        my $got = syscall(GETEVENTS, $context, $count, $count, $events, 0);
        $got == $count or die "io_getevents: $got of $count, $!";
        my %errors;
        for (0..$count - 1) {
          my $result = unpack("q", substr($events, 32 * $_ + 16, 8));
          $errors{$result} = 1 if $result < 0;
        }
        return \\%errors;
      }

      my $errors = {};
      for (1..1000) { $errors = batch(); last if %$errors; }
      print join(" ", sort keys %$errors), "\\n";
      open(my $root, "<", $directory) or die "open $directory: $!";
      my $flags = pack("L", 2);
      print ioctl($root, 0x8004587d, $flags) ? "0" : "$!", "\\n";
      print join(" ", sort keys %{batch()}), "\\n";
      """

    /// A volume without room says ENOSPC, and one that was shut down EIO; its image is sound.
    @Test(
      .needsRoot, .timeLimit(.minutes(1)),
      arguments: [["--size", "256M"], ["--size", "256M", "--mixed"]])
    func fullVolume(options: [String]) throws {
      let scratch = try Scratch()
      try FsmountProgram.run(["mkfs"] + options + [scratch.image]).orThrow()
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      try scratch.write("kept", seed: 1, length: 2 << 20)
      try scratch.sync("kept")
      let result = try Shell.run(
        "perl", "-e", Self.program, scratch.mountPoint + "/large", scratch.mountPoint, timeout: 50)
      #expect(result.text == "-\(ENOSPC)\n0\n-\(EIO)\n", "\(result.summary)")
      try mounted.unmount()
      try scratch.expectSound()
      let again = try scratch.mount("ro")
      defer { try? again.unmount() }
      #expect(try scratch.holds("kept"))
      try again.unmount()
    }
  }
}
