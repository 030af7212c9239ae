import Glibc
import TestSupport
import Testing

extension MountTests {
  /// btrfs's own ioctls about subvolumes, as programs make them that look at no more than these.
  @Suite(.timeLimit(.minutes(5))) struct BtrfsIoctlTests {
    private static let stranger = [
      "setpriv", "--reuid", "1001", "--regid", "1001", "--clear-groups",
    ]

    /// 0, or an errno.
    private func ask(_ path: String, _ command: UInt, _ argument: inout [UInt8]) -> Int32 {
      let descriptor = open(path, O_RDONLY | O_NONBLOCK)
      guard descriptor >= 0 else { return errno }
      defer { close(descriptor) }
      return argument.withUnsafeMutableBytes {
        Linux.ioctl(descriptor, command, $0.baseAddress!) < 0 ? errno : 0
      }
    }

    private func change(
      _ path: String, _ command: UInt, descriptor: Int32 = 0, flags: UInt64? = nil, name: String
    ) -> Int32 {
      var argument = Self.number(UInt64(bitPattern: Int64(descriptor)))
      if let flags {
        argument += Self.number(0) + Self.number(flags) + [UInt8](repeating: 0, count: 32)
      }
      argument += Array(name.utf8)
      argument += [UInt8](repeating: 0, count: 4096 - argument.count)
      return ask(path, command, &argument)
    }

    private static func number(_ value: UInt64) -> [UInt8] {
      withUnsafeBytes(of: value.littleEndian) { [UInt8]($0) }
    }

    private func number(_ bytes: [UInt8], at offset: Int) -> UInt64 {
      bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self) }
    }

    private func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    @Test(.needsFuse) func lifeOfASubvolume() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "512M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let root = scratch.mountPoint
      // The kernel knows that these are not there, and is told before the answer that they are.
      for name in ["p", "s", "r"] { #expect(!exists("\(root)/\(name)")) }
      let mask = umask(0o027)
      #expect(change(root, 0x5000_940e, name: "p") == 0)
      umask(mask)
      #expect(exists("\(root)/p"))
      var status = stat()
      try check("stat") { stat("\(root)/p", &status) }
      #expect(status.st_mode & 0o777 == 0o750)
      #expect(change(root, 0x5000_940e, name: "p") == EEXIST)
      #expect(change("\(root)/p", 0x5000_9418, flags: 0, name: "n") == 0)
      #expect(change(root, 0x5000_9418, flags: 4, name: "q") == EOPNOTSUPP)
      try scratch.write("p/f", seed: 1, length: 300_000)

      let source = open("\(root)/p", O_RDONLY)
      #expect(change(root, 0x5000_9401, descriptor: source, name: "s") == 0)
      #expect(change(root, 0x5000_9417, descriptor: source, flags: 2, name: "r") == 0)
      #expect(change(root, 0x5000_9401, descriptor: 999, name: "x") == EINVAL)
      let other = open("/proc", O_RDONLY)
      #expect(change(root, 0x5000_9401, descriptor: other, name: "x") == EXDEV)
      let file = open("\(root)/p/f", O_RDONLY)
      #expect(change(root, 0x5000_9401, descriptor: file, name: "x") == EINVAL)
      for descriptor in [source, other, file] { close(descriptor) }
      for name in ["p", "s", "r"] { #expect(try scratch.holds("\(name)/f")) }

      var flags = [UInt8](repeating: 0, count: 8)
      #expect(ask("\(root)/r", 0x8008_9419, &flags) == 0 && number(flags, at: 0) == 2)
      flags = Self.number(0)
      #expect(ask("\(root)/r", 0x4008_941a, &flags) == 0)
      #expect(ask("\(root)/r", 0x8008_9419, &flags) == 0 && number(flags, at: 0) == 0)
      flags = Self.number(1)
      #expect(ask("\(root)/r", 0x4008_941a, &flags) == EOPNOTSUPP)
      flags = Self.number(2)
      #expect(ask("\(root)/r/f", 0x4008_941a, &flags) == EINVAL)

      try questions(root)
      var id = Self.number(257)
      #expect(ask(root, 0x4008_9413, &id) == 0)
      #expect(change("\(root)/p", 0x5000_940f, name: "n") == EPERM)
      id = Self.number(0)
      #expect(ask(root, 0x4008_9413, &id) == 0)
      id = Self.number(999)
      #expect(ask(root, 0x4008_9413, &id) == ENOENT)
      #expect(change(root, 0x5000_940f, name: "p") == ENOTEMPTY)
      for wrong in [1, 2, 4, 7, 9, 0xffff_ffff_ffff_fff7] as [UInt64] {
        id = Self.number(wrong)
        #expect(ask(root, 0x4008_9413, &id) == ENOENT)
      }
      #expect(change("\(root)/p", 0x5000_940f, name: "f") == ENOTDIR)
      #expect(change(root, 0x5000_940f, name: "none") == ENOENT)
      // By its number, from anywhere.
      var argument = [UInt8](repeating: 0, count: 16) + Self.number(0x10)
      argument += [UInt8](repeating: 0, count: 32) + Self.number(257)
      argument += [UInt8](repeating: 0, count: 4096 - argument.count)
      #expect(ask(root, 0x5000_943f, &argument) == 0)
      #expect(!exists("\(root)/p/n"))
      for name in ["p", "s", "r"] { #expect(change(root, 0x5000_940f, name: name) == 0) }
      #expect(try directoryNames(BytePath(root)).isEmpty)
      var transaction = [UInt8](repeating: 0, count: 8)
      #expect(ask(root, 0x8008_9418, &transaction) == 0 && number(transaction, at: 0) > 0)
      #expect(ask(root, 0x4008_9416, &transaction) == 0)
      try mounted.unmount()
      try scratch.expectSound()
    }

    private func questions(_ root: String) throws {
      var info = [UInt8](repeating: 0, count: 504)
      #expect(ask("\(root)/p/f", 0x81f8_943c, &info) == 0)
      #expect(number(info, at: 0) == 256 && number(info, at: 264) == 5)
      #expect(info[8] == UInt8(ascii: "p") && info[9] == 0)
      let uuid = info[296..<312]
      #expect(ask("\(root)/s", 0x81f8_943c, &info) == 0)
      #expect(info[312..<328].elementsEqual(uuid))

      var references = [UInt8](repeating: 0, count: 4096)
      #expect(ask(root, 0xd000_943d, &references) == 0)
      #expect(references[4088] == 3 && number(references, at: 8) == 256)
      #expect(number(references, at: 16) == 256 && number(references, at: 24) == 258)
      references = Self.number(259) + [UInt8](repeating: 0, count: 4088)
      #expect(ask(root, 0xd000_943d, &references) == 0 && references[4088] == 1)

      try check("mkdir") { mkdir("\(root)/p/d", 0o755) }
      try writeFile(BytePath("\(root)/p/d/g"), [1])
      var status = stat()
      try check("stat") { stat("\(root)/p/d/g", &status) }
      var lookup = Self.number(0) + Self.number(UInt64(status.st_ino) & (1 << 40 - 1))
      lookup += [UInt8](repeating: 0, count: 4080)
      #expect(ask("\(root)/p", 0xd000_9412, &lookup) == 0)
      #expect(number(lookup, at: 0) == 256)
      #expect(lookup[16...].prefix { $0 != 0 } == Array("d/g/".utf8)[...])
      lookup = Self.number(0) + Self.number(256) + [UInt8](repeating: 0, count: 4080)
      #expect(ask("\(root)/p/d/g", 0xd000_9412, &lookup) == 0)
      #expect(number(lookup, at: 0) == 256 && lookup[16] == 0)
      lookup = Self.number(0) + Self.number(9999) + [UInt8](repeating: 0, count: 4080)
      #expect(ask("\(root)/p", 0xd000_9412, &lookup) == ENOENT)
      var filesystem = [UInt8](repeating: 0, count: 1024)
      #expect(ask(root, 0x8400_941f, &filesystem) == 0)
      #expect(number(filesystem, at: 8) == 1 && number(filesystem, at: 32) == 4096 << 32 | 16384)
      // One that points to memory cannot come through.
      var search = [UInt8](repeating: 0, count: 4096)
      #expect(ask(root, 0xc070_9411, &search) == ENOTTY)
    }

    /// More than fit into one answer.
    @Test(.needsFuse) func manySubvolumes() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "512M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      for number in 0..<300 {
        #expect(change(scratch.mountPoint, 0x5000_940e, name: "v\(number)") == 0)
      }
      var references = [UInt8](repeating: 0, count: 4096)
      #expect(ask(scratch.mountPoint, 0xd000_943d, &references) == EOVERFLOW)
      #expect(references[4088] == 255 && number(references, at: 0) == 256 + 255)
      #expect(ask(scratch.mountPoint, 0xd000_943d, &references) == 0)
      #expect(references[4088] == 45 && number(references, at: 8) == 256 + 255)
      try mounted.unmount()
      try scratch.expectSound()
    }

    /// Makes a name by an ioctl on a directory, with a descriptor for another, in perl; prints 0 or the
    /// errno.
    private static let client = """
      my ($directory, $command, $source, $name) = @ARGV;
      open(D, "<", $directory) or do { opendir(D, $directory) or do { print $!+0; exit } };
      my $fd = 0;
      if ($source ne "") { opendir(S, $source) or do { print $!+0; exit }; $fd = fileno(S); }
      my $argument = pack("q<a4088", $fd, $name);
      print((ioctl(D, hex($command), $argument)) ? 0 : $!+0);
      """

    /// What another user may is what Linux lets that one do.
    @Test(.needsRoot) func otherUsers() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      chmod(scratch.directory.path, 0o755)
      let mounted = try scratch.mount("allow_other,default_permissions")
      defer { try? mounted.unmount() }
      let root = scratch.mountPoint
      try Shell.run(
        "bash", "-c",
        """
        cd '\(root)' && mkdir theirs roots open listed && chown 1001:1001 theirs && chmod 777 open &&
        chmod 700 listed && setfacl -m u:1001:rwx listed
        """
      ).orThrow()
      #expect(change(root, 0x5000_940e, name: "p") == 0)
      func ask(_ directory: String, _ command: String, _ source: String, _ name: String) throws
        -> Int32?
      {
        let result = try Shell.run(
          Self.stranger + [
            "perl", "-e", Self.client, "\(root)/\(directory)", command,
            source.isEmpty ? "" : "\(root)/\(source)", name,
          ]
        ).orThrow()
        return Int32(result.output)
      }
      #expect(try ask("theirs", "5000940e", "", "v") == 0)
      #expect(try ask("open", "5000940e", "", "v") == 0)
      #expect(try ask("listed", "5000940e", "", "v") == 0)
      #expect(try ask("roots", "5000940e", "", "v") == EACCES)
      var status = stat()
      try check("stat") { stat("\(root)/theirs/v", &status) }
      #expect(status.st_uid == 1001 && status.st_gid == 1001)
      // Snapshots of what is theirs alone; nobody but root deletes, or makes read-only what is not theirs.
      #expect(try ask("theirs", "50009401", "theirs/v", "s") == 0)
      #expect(try ask("theirs", "50009401", "p", "x") == EPERM)
      #expect(try ask("roots", "50009401", "theirs/v", "x") == EACCES)
      #expect(try ask("theirs", "5000940f", "", "s") == EPERM)
      #expect(try ask("theirs", "40089413", "", "") == EPERM)
      #expect(try ask("p", "4008941a", "", "") == EPERM)
      #expect(try ask("theirs/v", "4008941a", "", "") == 0)
      try mounted.unmount()
      try scratch.expectSound()
    }
  }
}
