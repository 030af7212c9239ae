import Glibc
import TestSupport
import Testing

extension MountTests {
  /// When files were made, as statx(2) tells it.
  @Suite(.needsFuse, .needsLinux(6, 6), .timeLimit(.minutes(2))) struct BirthTimeTests {
    private let scratch: Scratch
    private var root: BytePath { scratch.root }

    init() throws {
      scratch = try Scratch()
      try scratch.make("--size", "256M")
    }

    /// All that stat(1) shows of each name, with the times to the nanosecond; `%w` is the time at which
    /// a file was made.
    private func shown(_ names: [String], _ format: String) throws -> String {
      let paths = names.map { root.appending($0).description }
      return try Shell.run(["stat", "--format", format] + paths).orThrow().output
    }

    @Test(.needsRoot) func asLinuxTellsThem() throws {
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let path = root.appending("file")
      try writeFile(path, [1, 2, 3])
      try check("mkdir") { root.appending("directory").withCPath { mkdir($0, 0o751) } }
      try check("symlink") { root.appending("link").withCPath { symlink("file", $0) } }
      for (name, device) in [("null", (1, 3)), ("disk", (259, 0x4_5678))] {
        try check("mknod") {
          root.appending(name).withCPath {
            mknod($0, S_IFCHR | 0o640, deviceNumber(major: device.0, minor: device.1))
          }
        }
      }
      // Everything but that time changes.
      let names = [".", "file", "directory", "link", "null", "disk"]
      let before = try shown(names, "%n %w")
      try check("chown") { path.withCPath { chown($0, 12, 345) } }
      try check("chmod") { path.withCPath { chmod($0, 0o4755) } }
      try writeFile(root.appending("directory").appending("file"), [1])
      let times = [timespec(tv_sec: 1, tv_nsec: 2), timespec(tv_sec: -3, tv_nsec: 4)]
      try check("utimensat") { path.withCPath { utimensat(Linux.currentDirectory, $0, times, 0) } }
      #expect(try shown(names, "%n %w") == before)
      #expect(!before.contains(" -\n"))

      let all = "%n %w %x %y %z %f %h %u %g %s %i %t %T"
      let ours = try shown(names, all)
      try mounted.unmount()
      let kernel = try scratch.mountByKernel()
      defer { try? kernel.unmount() }
      #expect(try shown(names, all) == ours)
      try kernel.unmount()

      // Nothing of it depends on what the kernel remembers.
      let again = try scratch.mount("noatime")
      defer { try? again.unmount() }
      #expect(try shown(names, all) == ours)
    }

    /// Once it is known, the kernel need not ask again.
    @Test func requests() throws {
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      try writeFile(root.appending("file"), [1])
      let watch = try RequestWatch(root)
      let first = try watch.requests { _ = try shown(["file"], "%w") }
      #expect(first["getattr"] == 1)
      let second = try watch.requests { _ = try shown(["file"], "%w") }
      #expect(second["getattr"] == nil)
    }
  }
}
