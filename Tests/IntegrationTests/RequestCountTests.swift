import Glibc
import TestSupport
import Testing

extension MountTests {
  /// Which requests common work sends to the mount: to send one costs more than to serve it.
  @Suite(
    .needsFuse, .timeLimit(.minutes(2)),
    .needsLinux(5, 16))
  struct RequestCountTests {
    private let scratch: Scratch
    private var root: BytePath { scratch.root }

    init() throws {
      scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      for name in ["cold", "other", "third"] {
        try writeFile(scratch.root.appending(name), [UInt8](repeating: 1, count: 4096))
      }
      let directory = scratch.root.appending("directory")
      try check("mkdir") { directory.withCPath { mkdir($0, 0o755) } }
      for number in 0..<10 { try writeFile(directory.appending("\(number)"), []) }
      try mounted.unmount()
    }

    private func open(_ name: String, _ flags: Int32) throws -> Int32 {
      try check("open \(name)") { root.appending(name).withCPath { Glibc.open($0, flags, 0o644) } }
    }

    private func status(_ name: String) throws {
      var status = stat()
      try check("lstat \(name)") { root.appending(name).withCPath { lstat($0, &status) } }
    }

    private func expect(
      _ row: String, _ watch: RequestWatch, _ wanted: [String: Int], openFiles: Int = 0,
      location: SourceLocation = #_sourceLocation, _ body: () throws -> Void
    ) throws {
      let found = try watch.requests(openFiles: openFiles, of: body)
      #expect(found == wanted, "\(row)", sourceLocation: location)
    }

    /// With permissions checked by the kernel it asks for a directory's when a path leads through it after
    /// a change in it.
    @Test(arguments: ["", "default_permissions"])
    func names(options: String) throws {
      let mounted = try scratch.mount(options)
      defer { try? mounted.unmount() }
      let watch = try RequestWatch(root)
      let asking = options.isEmpty ? [:] : ["getattr": 1]

      try expect("stat", watch, ["lookup": 1]) { try status("cold") }
      try expect("stat again", watch, [:]) { try status("cold") }
      try expect("create", watch, ["lookup": 1, "create": 1, "release": 1]) {
        let descriptor = try open("new", O_WRONLY | O_CREAT | O_EXCL)
        try check("close") { close(descriptor) }
      }
      try expect("mkdir", watch, ["lookup": 1, "mkdir": 1].merging(asking) { $1 }) {
        _ = try check("mkdir") { root.appending("made").withCPath { mkdir($0, 0o755) } }
      }
      try expect("rename", watch, ["lookup": 1, "rename": 1].merging(asking) { $1 }) {
        _ = try check("rename") {
          root.appending("new").withCPath { old in
            root.appending("renamed").withCPath { rename(old, $0) }
          }
        }
      }
      try expect("setxattr", watch, ["setxattr": 1].merging(asking) { $1 }) {
        _ = try check("setxattr") {
          root.appending("cold").withCPath { Linux.lsetxattr($0, "user.a", "b", 1, 0) }
        }
      }
      try expect("unlink", watch, ["unlink": 1]) {
        _ = try check("unlink") { root.appending("renamed").withCPath { unlink($0) } }
      }
      let list = ["lookup": 1, "opendir": 1, "readdirplus": 1, "readdir": 1, "releasedir": 1]
      try expect("list", watch, list.merging(asking) { $1 }) {
        let names = try directoryNames(root.appending("directory"))
        #expect(names.count == 10)
      }
    }

    /// A program that lists a directory as a whole and then looks at each file asks for the files of the
    /// first one. From then on attributes come with the names.
    @Test func listedAndLookedAt() throws {
      var mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let count = 60
      for folder in ["first", "second"] {
        let directory = root.appending(folder)
        try check("mkdir") { directory.withCPath { mkdir($0, 0o755) } }
        for number in 0..<count { try writeFile(directory.appending("\(number)"), []) }
      }
      try mounted.unmount()
      mounted = try scratch.mount()
      let watch = try RequestWatch(root)

      func listAndLook(_ folder: String) throws {
        let names = try directoryNames(root.appending(folder))
        #expect(names.count == count)
        for name in names { try status("\(folder)/\(String(decoding: name, as: UTF8.self))") }
      }
      let first = try watch.requests { try listAndLook("first") }
      #expect(first["lookup", default: 0] > count / 2)
      try expect(
        "the second directory", watch,
        ["lookup": 1, "opendir": 1, "readdirplus": 1, "readdir": 1, "releasedir": 1]
      ) { try listAndLook("second") }
    }

    /// The content of files. A file that was just created is asked once for `security.capability`, by
    /// the kernel, before the first write: nothing in the protocol says that it has none.
    @Test func content() throws {
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let watch = try RequestWatch(root)
      let bytes = [UInt8](repeating: 2, count: 4096)

      try expect(
        "write a small file", watch,
        ["lookup": 1, "create": 1, "getxattr": 1, "write": 1, "release": 1]
      ) { try writeFile(root.appending("new"), bytes) }
      // A read beyond the end of a file that was written to asks where that is.
      try expect("read it", watch, ["open": 1, "getattr": 1, "release": 1]) {
        let found = try readFile(root.appending("new"))
        #expect(found == bytes)
      }
      try expect(
        "read a small file", watch, ["lookup": 1, "open": 1, "read": 1, "release": 1]
      ) {
        let count = try readFile(root.appending("cold")).count
        #expect(count == 4096)
      }
      try expect("read it again", watch, ["open": 1, "release": 1]) {
        let count = try readFile(root.appending("cold")).count
        #expect(count == 4096)
      }
    }

    /// What the kernel has in its memory stays good when a program writes to the file.
    @Test func readingBesideWriting() throws {
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let watch = try RequestWatch(root)
      let descriptor = try open("cold", O_RDWR)
      defer { close(descriptor) }
      var buffer = [UInt8](repeating: 0, count: 2048)
      func read(at offset: Int) throws {
        try check("pread") { pread(descriptor, &buffer, buffer.count, offset) }
      }
      func write(_ byte: UInt8) throws {
        try check("pwrite") { pwrite(descriptor, [byte], 1, 100) }
      }
      try read(at: 0)
      try write(8)

      try expect("pwrite, pread", watch, ["write": 1], openFiles: 1) {
        for byte in [7, 9] as [UInt8] {
          if byte == 9 { try write(byte) }
          try read(at: 0)
          try read(at: 2048)
        }
      }
      try read(at: 0)
      #expect(buffer[100] == 9 && buffer[99] == 1)
      try expect("fsync", watch, ["fsync": 1], openFiles: 1) {
        _ = try check("fsync") { fsync(descriptor) }
      }
      try expect("fstat", watch, ["getattr": 1], openFiles: 1) {
        var status = stat()
        for _ in 0..<2 { try check("fstat") { fstat(descriptor, &status) } }
      }
    }

    /// With `flush` a close is told, of files that were open for writing.
    @Test func flush() throws {
      let mounted = try scratch.mount("flush")
      defer { try? mounted.unmount() }
      let watch = try RequestWatch(root)
      try expect("create", watch, ["lookup": 1, "create": 1, "flush": 1, "release": 1]) {
        let descriptor = try open("new", O_WRONLY | O_CREAT | O_EXCL)
        try check("close") { close(descriptor) }
      }
      try expect("read", watch, ["lookup": 1, "open": 1, "read": 1, "release": 1]) {
        let count = try readFile(root.appending("cold")).count
        #expect(count == 4096)
      }
    }
  }
}
