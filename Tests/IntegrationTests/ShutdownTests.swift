import Glibc
import TestSupport
import Testing

extension MountTests {
  /// FS_IOC_SHUTDOWN on a mount.
  @Suite(.timeLimit(.minutes(5))) struct ShutdownTests {
    /// Asks for it, in a process of its own, and says how that went: "0", or what it was told.
    private func shutDown(_ directory: String, as user: [String] = []) throws -> String {
      let program = """
        open(F, "<", $ARGV[0]) or die "open: $!"; my $flags = pack("L", 2);
        print ioctl(F, 0x8004587d, $flags) ? "0" : "$!"
        """
      return try Shell.run(user + ["perl", "-e", program, directory]).orThrow().text
    }

    @Test(.needsRoot, .timeLimit(.minutes(1)))
    func imageStaysAndTheMountCanGo() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      chmod(scratch.directory.path, 0o755)
      let mounted = try scratch.mount("allow_other")
      defer { try? mounted.unmount() }
      try scratch.write("before", seed: 1, length: 3_000_000)
      let file = scratch.mountPoint + "/open"
      let descriptor = try check("open") { open(file, O_RDWR | O_CREAT, 0o644) }
      try check("write") { write(descriptor, "text", 4) }

      let other = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"]
      #expect(try shutDown(scratch.mountPoint, as: other) == "Operation not permitted")
      #expect(write(descriptor, "text", 4) == 4)
      #expect(try shutDown(scratch.mountPoint) == "0")
      let digest = try scratch.imageDigest()
      #expect(write(descriptor, "more", 4) == -1 && errno == EIO)
      #expect(fsync(descriptor) == -1 && errno == EIO)
      #expect(mkdir(scratch.mountPoint + "/directory", 0o755) == -1 && errno == EIO)
      #expect(open(file, O_RDONLY) == -1 && errno == EIO)
      close(descriptor)
      try mounted.unmount()
      #expect(try scratch.imageDigest() == digest)
      try scratch.expectSound()

      let kernel = try scratch.mountByKernel()
      defer { try? kernel.unmount() }
      #expect(try scratch.holds("before"))
      #expect(try readFile(BytePath(file)) == Array("texttext".utf8))
      try kernel.unmount()
      try kernel.expectCleanLog()
    }
  }
}
