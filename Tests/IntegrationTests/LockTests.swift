import Glibc
import TestSupport
import Testing

extension MountTests {
  /// Locks of fcntl(2), which the kernel keeps for a mount.
  @Suite(.timeLimit(.minutes(2))) struct LockTests {
    /// A close of any descriptor that a process has of a file ends the process's locks of it, whether
    /// the close is told or not.
    @Test(.needsFuse, .timeLimit(.minutes(1)), arguments: ["", "flush"])
    func aCloseLetsGoOfThem(options: String) throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount(options)
      defer { try? mounted.unmount() }
      let path = scratch.root.appending("file")
      try writeFile(path, [1])
      let marks = try scratch.directory.directory("marks")
      // Takes the lock by one descriptor, and closes another.
      let program = """
        use Fcntl;
        sub mark { open(my $file, ">", "$ARGV[1]/$_[0]"); }
        sub await { until (-e "$ARGV[1]/$_[0]") { select(undef, undef, undef, 0.005); } }
        open(FIRST, "+<", $ARGV[0]) && open(SECOND, "+<", $ARGV[0]) or die "open: $!";
        my $lock = pack("s s x4 q q i x4", F_WRLCK, 0, 0, 0, 0);
        fcntl(FIRST, F_SETLK, $lock) or die "lock: $!";
        mark("locked"); await("close"); close(SECOND); mark("closed"); await("end");
        """
      let holder = try RunningCommand(["perl", "-e", program, "\(path)", marks])
      defer { holder.signal(SIGKILL) }
      func expectMark(_ mark: String) throws {
        let deadline = monotonicSeconds() + 20
        while access("\(marks)/\(mark)", F_OK) != 0 {
          if monotonicSeconds() > deadline || holder.poll() != nil {
            throw TestFailure("no mark '\(mark)': \(holder.outputSoFar)")
          }
          usleep(2_000)
        }
      }
      let descriptor = try check("open") { path.withCPath { open($0, O_RDWR | O_CLOEXEC) } }
      defer { close(descriptor) }
      func lock() -> Int {
        var wanted = flock(
          l_type: Int16(F_WRLCK), l_whence: Int16(SEEK_SET), l_start: 0, l_len: 0, l_pid: 0)
        return outcome { fcntl(descriptor, F_SETLK, &wanted) }
      }

      try expectMark("locked")
      #expect(lock() == -Int(EAGAIN))
      try writeFile(BytePath("\(marks)/close"), [])
      try expectMark("closed")
      #expect(lock() == 0)
      try writeFile(BytePath("\(marks)/end"), [])
      #expect(holder.wait(timeout: 10).status == 0)
    }
  }
}
