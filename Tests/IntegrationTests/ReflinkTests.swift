import Glibc
import TestSupport
import Testing

extension MountTests {
  /// Copies that share data, over a real mount: by cp(1), copy_file_range(2) and `fsmount reflink`.
  @Suite(.timeLimit(.minutes(5))) struct ReflinkTests {
    private func reflink(_ arguments: String...) throws -> CommandResult {
      try FsmountProgram.run(["reflink"] + arguments, timeout: 60)
    }

    private func freeBytes(_ path: String) throws -> UInt64 {
      try FsmountProgram.run("sync", path, timeout: 60).orThrow()
      var status = statvfs()
      try check("statvfs") { statvfs(path, &status) }
      return UInt64(status.f_bfree) * UInt64(status.f_frsize)
    }

    /// All of a copy is shared, what changes in one stays out of the other, and all space comes back.
    @Test(.needsFuse) func copiesShareTheirData() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "512M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let root = scratch.mountPoint
      let empty = try freeBytes(root)
      try scratch.write("file", seed: 1, length: 8_000_123)
      let before = try freeBytes(root)
      try Shell.run("cp", "--reflink=auto", "\(root)/file", "\(root)/copy").orThrow()
      try reflink("\(root)/file", "\(root)/clone").orThrow()
      try FsmountProgram.run("subvolume", "create", "\(root)/v").orThrow()
      try reflink("\(root)/file", "\(root)/v").orThrow()
      try Shell.run("cp", "\(root)/v/file", "\(root)/v/copy").orThrow()
      #expect(try before - freeBytes(root) < 2 << 20)
      for name in ["copy", "clone", "v/file", "v/copy"] {
        try Shell.run("cmp", "\(root)/file", "\(root)/\(name)").orThrow()
      }
      try scratch.write("copy", seed: 2, length: 8_000_123)
      try Shell.run("cmp", "\(root)/file", "\(root)/clone").orThrow()
      #expect(try scratch.holds("copy"))
      try mounted.unmount()
      try scratch.expectSound()

      let again = try scratch.mount()
      defer { try? again.unmount() }
      try Shell.run("cmp", "\(root)/clone", "\(root)/v/copy").orThrow()
      for name in ["file", "copy", "clone", "v/file", "v/copy"] { unlink("\(root)/\(name)") }
      #expect(try empty - min(empty, freeBytes(root)) < 2 << 20)
      try again.unmount()
      try scratch.expectSound()
    }

    /// What the kernel has in memory of the destination is forgotten before the command ends: read(2)
    /// and mapped memory show the new content, and the size is right.
    @Test(.needsFuse, arguments: ["", "writeback_cache"])
    func nothingOldIsSeen(options: String) throws {
      let scratch = try Scratch()
      try scratch.make("--size", "512M")
      let mounted = try options.isEmpty ? scratch.mount() : scratch.mount(options)
      defer { try? mounted.unmount() }
      let root = scratch.mountPoint
      let (one, two) = ([UInt8](repeating: 1, count: 65536), [UInt8](repeating: 2, count: 65536))
      try writeFile(BytePath("\(root)/one"), one)
      try writeFile(BytePath("\(root)/two"), two)
      let descriptor = try check("open") { open("\(root)/two", O_RDWR) }
      let memory = mmap(nil, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)!
      let bytes = memory.assumingMemoryBound(to: UInt8.self)
      // Written to memory that belongs to the files, and on its way nowhere yet.
      #expect(bytes[9000] == 2)
      bytes[50_000] = 7

      try reflink(
        "--dest-offset", "8192", "--source-offset", "4096", "--length", "16K", "\(root)/one",
        "\(root)/two"
      ).orThrow()
      #expect(bytes[9000] == 1 && bytes[8191] == 2 && bytes[24_576] == 2 && bytes[50_000] == 7)
      var expected = two
      expected.replaceSubrange(8192..<24_576, with: one.prefix(16384))
      expected[50_000] = 7
      #expect(try readFile(BytePath("\(root)/two")) == expected)

      try reflink("--dest-offset", "60K", "\(root)/one", "\(root)/two").orThrow()
      var status = stat()
      try check("fstat") { fstat(descriptor, &status) }
      #expect(status.st_size == 61_440 + 65536)
      expected = expected.prefix(61_440) + one
      #expect(try readFile(BytePath("\(root)/two")) == expected)
      try reflink("--force", "\(root)/one", "\(root)/two").orThrow()
      #expect(try readFile(BytePath("\(root)/two")) == one)

      // What is written at the end of a new copy goes there.
      try writeFile(BytePath("\(root)/odd"), one.prefix(9000) + [4])
      for name in ["one", "odd"] {
        try reflink("\(root)/\(name)", "\(root)/new").orThrow()
        try Shell.run("bash", "-c", "printf tail >> '\(root)/new'").orThrow()
        #expect(
          try readFile(BytePath("\(root)/new"))
            == readFile(BytePath("\(root)/\(name)")) + Array("tail".utf8))
        unlink("\(root)/new")
      }
      munmap(memory, 65536)
      close(descriptor)
      try mounted.unmount()
      try scratch.expectSound()
    }

    /// copy_file_range(2) of any range, among files that are written and mapped, against arrays.
    @Test(.needsFuse, arguments: ["", "writeback_cache"]) func anyRange(options: String) throws {
      print("copy_file_range, '\(options)', seed \(TestSeed.of(461))")
      var random = SeededRandom(testSeed: 461)
      let scratch = try Scratch()
      try scratch.make("--size", "512M")
      let mounted = try options.isEmpty ? scratch.mount() : scratch.mount(options)
      defer { try? mounted.unmount() }
      var files = [[UInt8]](repeating: [], count: 4)
      let descriptors = try files.indices.map { index in
        try check("open") { open("\(scratch.mountPoint)/f\(index)", O_RDWR | O_CREAT, 0o644) }
      }
      for step in 0..<600 {
        let target = random.below(4)
        var offset = random.below(200_000)
        if random.below(3) > 0 { offset &= ~4095 }
        if random.below(3) == 0 {
          var bytes = [UInt8](repeating: 0, count: 1 + random.below(50_000))
          bytes.withUnsafeMutableBytes { random.fillNonZero($0) }
          try check("write") { pwrite(descriptors[target], bytes, bytes.count, offset) }
          Self.put(bytes, at: offset, &files[target])
          continue
        }
        let source = random.below(4)
        var from = random.below(files[source].count + 4096)
        if random.below(3) > 0 { from &= ~4095 }
        let length = random.oneIn(3) ? 1 << 20 : 1 + random.below(60_000)
        let rest = max(0, min(length, files[source].count - from))
        if source == target, from < offset + length, offset < from + length { continue }
        var done = 0
        while done < rest {
          let count = Linux.copyFileRange(
            descriptors[source], at: from + done, to: descriptors[target], at: offset + done,
            length: rest - done)
          guard count > 0 else { throw TestFailure("step \(step): \(count) of \(rest) bytes") }
          done += count
        }
        if rest > 0 {
          Self.put(Array(files[source][from..<(from + rest)]), at: offset, &files[target])
        }
        let found = try readFile(BytePath("\(scratch.mountPoint)/f\(target)"))
        if found != files[target] {
          throw TestFailure(
            "step \(step), \(from) +\(rest) of \(source) to \(offset) of \(target): \(found.count) "
              + "bytes for \(files[target].count)")
        }
      }
      for descriptor in descriptors { close(descriptor) }
      try mounted.unmount()
      try scratch.expectSound()
      let again = try scratch.mount()
      for (index, bytes) in files.enumerated() {
        #expect(try readFile(BytePath("\(scratch.mountPoint)/f\(index)")) == bytes)
      }
      try again.unmount()
    }

    private static func put(_ bytes: [UInt8], at offset: Int, _ file: inout [UInt8]) {
      let missing = offset + bytes.count - file.count
      if missing > 0 { file += [UInt8](repeating: 0, count: missing) }
      file.replaceSubrange(offset..<(offset + bytes.count), with: bytes)
    }

    /// A file is cloned behind itself, in one go and with its end, which is within a block.
    @Test(.needsFuse, arguments: ["", "writeback_cache"])
    func fileBehindItself(options: String) throws {
      let scratch = try Scratch()
      try scratch.make("--size", "512M")
      let mounted = try options.isEmpty ? scratch.mount() : scratch.mount(options)
      defer { try? mounted.unmount() }
      let path = "\(scratch.mountPoint)/file"
      let descriptor = try check("open") { open(path, O_RDWR | O_CREAT, 0o644) }
      let count = 20_000
      for number in 0..<count {
        let block = [UInt8](repeating: UInt8(1 + number % 200), count: 4096)
        try check("write") { pwrite(descriptor, block, 4096, number * 8192) }
      }
      try check("write") {
        pwrite(descriptor, [UInt8](repeating: 9, count: 100), 100, count * 8192)
      }
      try check("fsync") { fsync(descriptor) }
      let before = try freeBytes(scratch.mountPoint)
      let start = (count + 1) * 8192
      try reflink("--dest-offset", "\(start)", path, path).orThrow()
      var status = stat()
      try check("fstat") { fstat(descriptor, &status) }
      #expect(status.st_size == start + count * 8192 + 100)
      #expect(try before - min(before, freeBytes(scratch.mountPoint)) < 16 << 20)
      let size = count * 8192 + 100
      try Shell.run("cmp", "-n", "\(size)", "-i", "0:\(start)", path, path).orThrow()
      close(descriptor)
      try mounted.unmount()
      try scratch.expectSound()
    }

    /// Rights that go with the old content are gone, a limit of file sizes holds, and where sharing is
    /// refused all is as it was.
    @Test(.needsFuse) func rightsAndLimits() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let root = scratch.mountPoint
      try writeFile(BytePath("\(root)/file"), [UInt8](repeating: 1, count: 10_000))
      let old = [UInt8](repeating: 2, count: 30_000)
      try writeFile(BytePath("\(root)/program"), old)
      // VFS_CAP_REVISION_2, cap_net_raw.
      let capability: [UInt8] = [1, 0, 0, 2, 0, 0x20, 0, 0] + [UInt8](repeating: 0, count: 12)
      let program = BytePath("\(root)/program")
      func hasCapability() -> Bool {
        var value = [UInt8](repeating: 0, count: 64)
        return program.withCPath {
          Linux.lgetxattr($0, "security.capability", &value, value.count) > 0
        }
      }
      try check("lsetxattr") {
        program.withCPath {
          Linux.lsetxattr($0, "security.capability", capability, capability.count, 0)
        }
      }
      expectRefusal(
        try reflink("--dest-offset", "0", "\(root)/file", "\(root)/program"),
        naming: "both files end")
      #expect(hasCapability())
      try reflink(
        "--dest-offset", "0", "--length", "8K", "\(root)/file", "\(root)/program"
      ).orThrow()
      #expect(!hasCapability())

      try Shell.run("bash", "-c", "cd '\(root)' && touch nocow && chattr +C nocow").orThrow()
      try writeFile(BytePath("\(root)/nocow"), old)
      expectRefusal(try reflink("--force", "\(root)/file", "\(root)/nocow"), naming: "checksums")
      #expect(try readFile(BytePath("\(root)/nocow")) == old)

      try writeFile(BytePath("\(root)/other"), old)
      let limited = try Shell.run(
        "bash", "-c", "ulimit -f 8; exec \"$@\"", "bash", FsmountProgram.required(), "reflink",
        "--dest-offset", "32K", "\(root)/file", "\(root)/other")
      expectRefusal(limited, naming: "File too large")
      #expect(try readFile(BytePath("\(root)/other")) == old)
      try mounted.unmount()
      try scratch.expectSound()
    }

    @Test(.needsFuse) func refusals() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let root = scratch.mountPoint
      try writeFile(BytePath("\(root)/file"), [UInt8](repeating: 1, count: 10_000))
      try writeFile(BytePath("\(root)/other"), [UInt8](repeating: 2, count: 50_000))
      try check("mkdir") { mkdir("\(root)/d", 0o755) }
      try Shell.run("bash", "-c", "cd '\(root)' && touch nocow && chattr +C nocow").orThrow()
      try FsmountProgram.run("subvolume", "create", "\(root)/p").orThrow()
      try writeFile(BytePath("\(root)/p/f"), [1])
      try FsmountProgram.run("subvolume", "snapshot", "-r", "\(root)/p", "\(root)/r").orThrow()

      expectRefusal(try reflink("\(root)/d", "\(root)/new"), naming: "is a directory")
      expectRefusal(try reflink("\(root)/none", "\(root)/new"), naming: "No such file")
      expectRefusal(try reflink("\(root)/file", "\(root)/none/new"), naming: "No such file")
      expectRefusal(try reflink("\(root)/file", "\(root)/other"), naming: "--force")
      expectRefusal(try reflink("\(root)/file", "\(root)/file"), naming: "the same file")
      expectRefusal(try reflink("\(root)/file", "/tmp"), naming: "not in the same mount")
      expectRefusal(try reflink("/etc/hostname", "\(root)/new"), naming: "not in the same mount")
      expectRefusal(try reflink("/etc/hostname", "/etc/fsmount-new"), naming: "not in a mount of")
      expectRefusal(try reflink("\(root)/file", "\(root)/r/new"), naming: "Read-only")
      expectRefusal(try reflink("\(root)/file", "\(root)/nocow", "--force"), naming: "checksums")
      expectRefusal(
        try reflink("--dest-offset", "100", "\(root)/file", "\(root)/other"), naming: "4096")
      expectRefusal(
        try reflink("--dest-offset", "0", "\(root)/file", "\(root)/other"), naming: "both files end"
      )
      expectRefusal(
        try reflink("--length", "20K", "\(root)/file", "\(root)/other"), naming: "10000 bytes")
      expectRefusal(
        try reflink("--dest-offset", "4K", "--length", "8K", "\(root)/file", "\(root)/file"),
        naming: "overlap")
      expectRefusal(
        try reflink("--dest-offset", "4K", "--force", "\(root)/file", "\(root)/other"),
        naming: "--force")
      // Nothing is left of any.
      for name in ["new", "r/new"] { #expect(access("\(root)/\(name)", F_OK) != 0) }
      #expect(access("/etc/fsmount-new", F_OK) != 0)
      #expect(try readFile(BytePath("\(root)/other")) == [UInt8](repeating: 2, count: 50_000))
      try mounted.unmount()
      try scratch.expectSound()

      let readOnly = try scratch.mount("ro")
      defer { try? readOnly.unmount() }
      expectRefusal(try reflink("\(root)/file", "\(root)/new"), naming: "Read-only")
    }
  }
}
