import Glibc
import TestSupport
import Testing

extension MountTests {
  /// What a program is told when its data cannot be written.
  @Suite(.timeLimit(.minutes(5))) struct LostDataTests {
    /// A small file system in memory, with an image in it that is larger.
    private final class SmallPlace {
      let directory: TemporaryDirectory
      let path: String
      var image: String { path + "/image" }

      init(megabytes: Int) throws {
        directory = try TemporaryDirectory()
        path = try directory.directory("small")
        try Shell.run("mount", "-t", "tmpfs", "-o", "size=\(megabytes)M", "tmpfs", path).orThrow()
      }

      func enlarge(megabytes: Int) throws {
        try Shell.run("mount", "-o", "remount,size=\(megabytes)M", path).orThrow()
      }

      deinit { _ = try? Shell.run("umount", "-l", path) }
    }

    /// The image's place is full: fsync(2) says so of the file whose data are lost, and so does close(2)
    /// where it is asked to, and 'fsmount unmount' of the last commit. What was committed before is
    /// there.
    @Test(.needsRoot, .timeLimit(.minutes(2)), arguments: [false, true])
    func lostDataAreReported(atClose: Bool) throws {
      let place = try SmallPlace(megabytes: 40)
      try FsmountProgram.run("mkfs", "--size", "1G", place.image).orThrow()
      let mountPoint = try place.directory.directory("mount")
      let mounted = try FsmountMount(
        place.image, at: mountPoint, options: "commit=300,cache=16M" + (atClose ? ",flush" : ""),
        lifetime: 100)
      defer { mounted.killDaemon() }
      let root = BytePath(mountPoint)
      try writeFile(root.appending("good"), [UInt8](repeating: 7, count: 100_000))
      try mounted.sync()

      func open(_ name: String, _ flags: Int32) throws -> Int32 {
        try check("open \(name)") {
          root.appending(name).withCPath { Glibc.open($0, flags | O_CREAT, 0o644) }
        }
      }
      let untouched = try open("other", O_WRONLY)
      let reader = try open("lost", O_RDONLY)
      let first = try open("lost", O_WRONLY)
      let second = try open("lost", O_WRONLY)
      let piece = [UInt8](repeating: 0x5a, count: 1 << 20)
      for number in 0..<100 {
        guard outcome({ pwrite(first, piece, piece.count, number << 20) }) > 0 else { break }
      }
      #expect(outcome { fsync(second) } == -Int(ENOSPC))
      #expect(outcome { close(first) } == (atClose ? -Int(ENOSPC) : 0))
      let closing = outcome { close(second) }
      #expect(atClose || closing == 0)
      #expect(outcome { close(reader) } == 0)
      #expect(outcome { close(untouched) } == 0)

      let result = try FsmountProgram.run("unmount", mountPoint, timeout: 60)
      expectRefusal(result, naming: "could not be written")
      #expect(result.errors.contains(place.image))
      #expect(MountTableEntry.at(mountPoint) == nil)

      try place.enlarge(megabytes: 400)
      try ImageCheck.expectSound(place.image)
      let again = try FsmountMount(place.image, at: mountPoint, lifetime: 60)
      defer { try? again.unmount() }
      #expect(try readFile(root.appending("good")) == [UInt8](repeating: 7, count: 100_000))
    }

    /// The image's place is full when a commit writes tree blocks: fsync(2) and the log say so, and the
    /// mount goes on. When there is room again nothing was lost; when it is unmounted before, it
    /// says that the changes are, and the image is as the last commit left it.
    @Test(.needsRoot, .timeLimit(.minutes(2)), arguments: [true, false])
    func aCommitWaitsForRoom(comes: Bool) throws {
      let place = try SmallPlace(megabytes: 40)
      try FsmountProgram.run("mkfs", "--size", "1G", place.image).orThrow()
      let mountPoint = try place.directory.directory("mount")
      let mounted = try FsmountMount(
        place.image, at: mountPoint, options: "commit=300", lifetime: 100)
      defer { mounted.killDaemon() }
      let root = BytePath(mountPoint)
      let good = [UInt8](repeating: 7, count: 100_000)
      try writeFile(root.appending("good"), good)
      try mounted.sync()

      // Small files stand in tree blocks, more of them than any earlier commit has had places for.
      let ballast = place.path + "/ballast"
      #expect(!(try Shell.run("dd", "if=/dev/zero", "of=\(ballast)", "bs=4096")).succeeded)
      func content(_ number: Int) -> [UInt8] {
        [UInt8](repeating: UInt8(number % 251), count: 1500)
      }
      func write(_ numbers: Range<Int>) throws {
        for number in numbers { try writeFile(root.appending("new\(number)"), content(number)) }
      }
      try write(0..<2000)
      let descriptor = try check("open") {
        root.appending("new0").withCPath { Glibc.open($0, O_RDONLY) }
      }
      for _ in 0..<3 { #expect(outcome { fsync(descriptor) } == -Int(ENOSPC)) }
      try write(2000..<2100)
      #expect(outcome { fsync(descriptor) } == -Int(ENOSPC))
      expectRefusal(
        try FsmountProgram.run("sync", mountPoint, timeout: 60), naming: "no space left")
      #expect(try readFile(root.appending("good")) == good)
      #expect(try readFile(root.appending("new1")) == content(1))
      func lines(_ text: String) -> Int { mounted.messages.ranges(of: text).count }
      func expectOneLine(_ text: String) {
        // It may be on its way.
        let deadline = monotonicSeconds() + 20
        while lines(text) == 0, monotonicSeconds() < deadline { usleep(2000) }
        #expect(lines(text) == 1, "\(mounted.messages)")
      }
      expectOneLine("no room")

      if comes {
        unlink(ballast)
        #expect(outcome { fsync(descriptor) } == 0)
        expectOneLine("there is room again")
        try write(2100..<2200)
        close(descriptor)
        try mounted.unmount()
      } else {
        close(descriptor)
        let result = try FsmountProgram.run("unmount", mountPoint, timeout: 60)
        expectRefusal(result, naming: "could not be written")
        #expect(result.errors.contains("no room"))
        #expect(MountTableEntry.at(mountPoint) == nil)
        unlink(ballast)
      }
      try ImageCheck.expectSound(place.image)

      let again = try FsmountMount(place.image, at: mountPoint, lifetime: 60)
      defer { try? again.unmount() }
      #expect(try readFile(root.appending("good")) == good)
      let names = try directoryNames(root)
      #expect(names.count == (comes ? 2201 : 1))
      if comes {
        for number in 0..<2200 {
          #expect(try readFile(root.appending("new\(number)")) == content(number))
        }
      }
    }

    /// What a program has written into mapped memory alone is in the image after a SIGTERM.
    @Test(.needsFuse, .timeLimit(.minutes(1)), arguments: [false, true])
    func mappedPagesSurviveASignal(descriptorStaysOpen: Bool) throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount("commit=300")
      defer { try? mounted.unmount() }
      let length = 3 << 20
      let path = scratch.root.appending("mapped")
      let descriptor = try check("open") {
        path.withCPath { open($0, O_RDWR | O_CREAT, 0o644) }
      }
      try check("ftruncate") { ftruncate(descriptor, length) }
      let memory = try #require(
        mmap(nil, length, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0))
      try #require(memory != MAP_FAILED)
      if !descriptorStaysOpen { try check("close") { close(descriptor) } }
      for page in 0..<(length / 4096) {
        memset(memory + page * 4096, Int32(1 + page % 250), 4096)
      }
      // The mapping keeps the mount in use all the while.
      mounted.signal(SIGTERM)
      try mounted.expectDaemonEnds(within: 20)
      munmap(memory, length)
      if descriptorStaysOpen { close(descriptor) }
      try scratch.expectSound()

      let again = try scratch.mount()
      defer { try? again.unmount() }
      let found = try readFile(path)
      #expect(found.count == length)
      let isRight = found.indices.allSatisfy { found[$0] == UInt8(1 + $0 / 4096 % 250) }
      #expect(isRight)
    }
  }
}
