import Glibc
import TestSupport
import Testing

extension MountTests {
  /// Handles as NFS servers and name_to_handle_at(2) have them.
  @Suite(.timeLimit(.minutes(5))) struct FileHandleTests {
    /// struct file_handle: length, type, bytes.
    private struct Handle {
      var bytes = [UInt8](repeating: 0, count: 8 + 128)

      init(_ path: BytePath) throws {
        bytes[0] = 128
        var mount: Int32 = 0
        try check("name_to_handle_at \(path)") {
          path.withCPath {
            Linux.nameToHandle(Linux.currentDirectory, $0, &bytes, &mount, 0)
          }
        }
      }

      func open(in directory: String) -> Int {
        let root = Glibc.open(directory, O_RDONLY | O_DIRECTORY)
        defer { close(root) }
        var copy = bytes
        return outcome { Linux.openByHandle(root, &copy, O_RDONLY) }
      }
    }

    private func content(_ descriptor: Int) throws -> String {
      let descriptor = Int32(try check("open_by_handle_at") { descriptor })
      defer { close(descriptor) }
      var bytes = [UInt8](repeating: 0, count: 100)
      let count = try check("read") { read(descriptor, &bytes, bytes.count) }
      return String(decoding: bytes[..<count], as: UTF8.self)
    }

    /// Has the kernel forget all inodes that are not in use.
    private func forget() throws { try writeFile(BytePath("/proc/sys/vm/drop_caches"), [0x32]) }

    @Test(.needsRoot, .timeLimit(.minutes(1)))
    func handlesOutliveForgettingAndRemounting() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      var mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let deep = scratch.root.appending("a").appending("b")
      try check("mkdir") { scratch.root.appending("a").withCPath { mkdir($0, 0o755) } }
      try check("mkdir") { deep.withCPath { mkdir($0, 0o755) } }
      try writeFile(deep.appending("file"), Array("deep".utf8))
      try writeFile(scratch.root.appending("gone"), Array("gone".utf8))
      let handles = try ["a/b/file", "a/b", "."].map { try Handle(scratch.root.appending($0)) }
      let gone = try Handle(scratch.root.appending("gone"))
      try check("unlink") { scratch.root.appending("gone").withCPath { unlink($0) } }
      try writeFile(scratch.root.appending("new"), Array("new".utf8))

      for round in 0..<3 {
        try forget()
        #expect(try content(handles[0].open(in: scratch.mountPoint)) == "deep")
        try forget()
        for handle in handles {
          let descriptor = handle.open(in: scratch.mountPoint)
          #expect(descriptor >= 0, "round \(round): \(descriptor)")
          if descriptor >= 0 { close(Int32(descriptor)) }
        }
        #expect(gone.open(in: scratch.mountPoint) == -Int(ESTALE))
        try mounted.unmount()
        mounted = try scratch.mount()
      }
    }
  }
}
