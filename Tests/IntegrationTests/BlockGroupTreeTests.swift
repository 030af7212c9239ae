import Glibc
import TestSupport
import Testing

extension MountTests {
  /// An image by an mkfs.btrfs of today: a free space tree and a block group tree.
  @Suite(.timeLimit(.minutes(5))) struct BlockGroupTreeTests {
    /// Debian's mkfs.btrfs cannot make such an image: a newer one did, see TESTING.md.
    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func blockGroupTree() throws {
      let scratch = try Scratch()
      try Fixture("block-group-tree.img.zst").unpack(to: scratch.image)
      let numbers = (1...8000).map { "\($0)\n" }.joined()
      let line = "the same line, again and again\n"

      func expectContent() throws {
        func expect(
          _ name: String, _ text: String, location: SourceLocation = #_sourceLocation
        ) throws {
          let bytes = try readFile(scratch.root.appending(name))
          #expect(bytes == Array(text.utf8), "\(name)", sourceLocation: location)
        }
        for directory in ["", "snapshot/"] {
          try expect(directory + "inline", "small enough for its inode\n")
          try expect(directory + "hard", "small enough for its inode\n")
          try expect(directory + "symbolic", "small enough for its inode\n")
          try expect(directory + "numbers", numbers)
          try expect(directory + "cloned", numbers)
          try expect(directory + "compressed/lines", String(repeating: line, count: 10_000))
          let zeros = String(repeating: "\0", count: 1 << 20)
          try expect(directory + "holes", zeros + "end\n" + zeros.dropLast(4))
          try expect(directory + "preallocated", "start\n" + zeros.dropLast(6))
          for index in 1...40 { try expect(directory + "many/\(index)", "file \(index)\n") }
          #expect(try directoryNames(scratch.root.appending(directory + "many")).count == 40)
        }
        try expect("subvolume/numbers", (1...1000).map { "\($0)\n" }.joined())
        var note = [UInt8](repeating: 0, count: 100)
        let inline = scratch.root.appending("inline")
        let length = inline.withCPath { Linux.lgetxattr($0, "user.note", &note, note.count) }
        #expect(note.prefix(max(length, 0)).elementsEqual("kept beside it".utf8))

        // Only the block group tree says how much is in use: 1,355,776 bytes, and metadata twice.
        var numbers = statvfs()
        try check("statvfs") { statvfs(scratch.mountPoint, &numbers) }
        let used = (numbers.f_blocks - numbers.f_bfree) * numbers.f_frsize
        #expect(used > 1_355_776 && used < 20 << 20, "\(used) bytes are called used")
      }
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      try expectContent()
      try scratch.write("new", seed: 6, length: 3_000_000)
      try mounted.unmount()
      try scratch.expectSound()
      let again = try scratch.mount("ro")
      defer { try? again.unmount() }
      try expectContent()
      let isThere = try scratch.holds("new")
      #expect(isThere)
      try again.unmount()

      let groups = try FsmountProgram.run("inspect", "groups", scratch.image).orThrow().output
      #expect(groups.contains("data single: "), "\(groups)")
      let cache = try FsmountProgram.run("cache", scratch.image, "--verify").orThrow().output
      #expect(cache.contains("free space tree") && cache.contains("agrees"), "\(cache)")

      for record in ["space_cache=v1", "nospace_cache"] {
        do {
          try scratch.mount(record).unmount()
          Issue.record("mounted with \(record)")
        } catch {
          #expect("\(error)".contains("block group tree"), "\(error)")
        }
      }
    }

    /// `inspect tree` has the same items in the same order as `btrfs inspect-internal dump-tree`, and
    /// the same names for them: of free space as ranges and as bitmaps, and of block groups.
    @Test(.needsFuse, .timeLimit(.minutes(1)))
    func itemsHaveTheNamesOfBtrfs() throws {
      let scratch = try Scratch()
      try Fixture("block-group-tree.img.zst").unpack(to: scratch.image)
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      // More ranges than stand as extents in a group of 8 MiB.
      for number in 0..<80 { try scratch.write("piece\(number)", seed: 7, length: 5000) }
      try mounted.sync()
      for number in stride(from: 0, to: 80, by: 2) {
        let path = scratch.root.appending("piece\(number)")
        try check("unlink \(path)") { path.withCPath { unlink($0) } }
      }
      try mounted.unmount()

      var types: Set<Substring> = []
      for (name, number) in [("free-space", "10"), ("block-group", "11"), ("root", "1")] {
        let ours = try FsmountProgram.run("inspect", "tree", name, scratch.image).orThrow().output
          .split(separator: "\n").filter { $0.hasPrefix("    ") }
          .map { $0.split(separator: " ").prefix(3) }
        let dump = try Shell.run(
          "btrfs", "inspect-internal", "dump-tree", "-t", number, scratch.image
        ).orThrow().output
        let theirs = dump.split(separator: "\n").filter { $0.hasPrefix("\titem ") }.map { line in
          line.split(separator: "(")[1].split(separator: ")")[0].split(separator: " ").prefix(3)
        }
        // Special object ids have other names in the root tree.
        if name != "root" { #expect(ours.map(Array.init) == theirs.map(Array.init)) }
        let named = ours.compactMap { $0.dropFirst().first }
        #expect(named.count > 3 && named == theirs.compactMap { $0.dropFirst().first })
        types.formUnion(named)
      }
      #expect(
        types.isSuperset(of: [
          "FREE_SPACE_INFO", "FREE_SPACE_EXTENT", "FREE_SPACE_BITMAP", "BLOCK_GROUP_ITEM",
          "ROOT_ITEM",
        ]), "\(types)")
    }
  }
}
