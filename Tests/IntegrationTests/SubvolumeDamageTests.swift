import FSCore
import Glibc
import TestSupport
import Testing

extension MountTests {
  /// What the commands say of images in which something about subvolumes is damaged.
  @Suite(.timeLimit(.minutes(3))) struct SubvolumeDamageTests {
    /// A damaged item under checksums that are right: the rest is listed, the bad one is named, and the exit
    /// status tells. Of an image that cannot be mounted any more, and in a mount.
    @Test(.needsFuse, arguments: [ItemType.rootItem, .rootBackref])
    func damagedItem(type: ItemType) throws {
      // In a leaf of the root tree that leads to all other trees as well, or that has subvolumes alone.
      for (count, isMountable) in [(3, false), (90, true)] as [(UInt64, Bool)] {
        let scratch = try Scratch()
        try scratch.make("--size", "256M", "--space-cache", "v2")
        let mounted = try scratch.mount()
        let names = (0..<count).map { "subvolume-number-\($0)" }
        try run(["create"] + names.map { "\(scratch.mountPoint)/\($0)" }).orThrow()
        try mounted.unmount()
        let whole = try run(["list", scratch.image]).orThrow().output.split(separator: "\n")
        #expect(whole.count == count)

        let id = 256 + count / 2
        let damage = try ItemDamage(scratch.image, ObjectID(id), type)
        try damage.apply()
        try expectRest(scratch, scratch.image, id, type, whole)
        let result = try FsmountProgram.run("mount", "-o", "ro", scratch.image, scratch.mountPoint)
        #expect(result.succeeded == isMountable, "\(result.summary)")
        if result.succeeded {
          try expectRest(scratch, scratch.mountPoint, id, type, whole)
          try FsmountProgram.run("unmount", scratch.mountPoint).orThrow()
        }
        try damage.undo()
        #expect(try run(["list", scratch.image]).orThrow().output.split(separator: "\n") == whole)
        try scratch.expectSound()
      }
    }

    private func expectRest(
      _ scratch: Scratch, _ path: String, _ id: UInt64, _ type: ItemType, _ whole: [Substring]
    ) throws {
      let result = try FsmountProgram.run("subvolume", "list", path)
      #expect(result.status == 1, "\(result.summary)")
      let rest =
        type == .rootItem ? whole.filter { !$0.hasPrefix("ID \(id) ") } : whole
      #expect(result.output.split(separator: "\n") == rest, "\(result.summary)")
      expectProblem(result, path, id, type)

      // Of others there is nothing missing.
      for words in [["show", "-r", "\(id - 1)"], ["show"], ["get-default"]] {
        let other = try FsmountProgram.run(["subvolume"] + words + [path])
        #expect(other.succeeded && !other.output.isEmpty, "\(other.summary)")
        expectProblem(other, path, id, type)
      }
      let shown = try FsmountProgram.run("subvolume", "show", "-r", "\(id)", path)
      #expect(shown.errors.contains("subvolume \(id)"), "\(shown.summary)")
      if type == .rootItem {
        #expect(shown.status == 32 && shown.output.isEmpty, "\(shown.summary)")
      } else {
        #expect(shown.status == 1 && shown.output.contains("\(id)"), "\(shown.summary)")
      }
    }

    private func expectProblem(
      _ result: CommandResult, _ path: String, _ id: UInt64, _ type: ItemType
    ) {
      let lines = result.errors.split(separator: "\n")
      #expect(lines.count == 1, "\(result.summary)")
      for word in [path, "subvolume \(id)", type == .rootItem ? "ROOT_ITEM" : "ROOT_BACKREF"] {
        #expect(result.errors.contains(word), "\(result.summary)")
      }
    }

    @Test(.needsFuse) func damagedDefault() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount()
      let root = scratch.mountPoint
      try run(["create", "\(root)/a", "\(root)/b"]).orThrow()
      try run(["set-default", "\(root)/a"]).orThrow()
      try mounted.unmount()

      for (object, type, status, words) in [
        (256, .rootItem, 32, ["256", "is damaged", "ROOT_ITEM"]),
        (256, .rootBackref, 1, ["subvolume 256", "ROOT_BACKREF"]),
        (257, .rootItem, 0, ["subvolume 257"]),
        (6, .dirItem, 32, ["not known", "damaged"]),
      ] as [(UInt64, ItemType, Int32, [String])] {
        let damage = try ItemDamage(scratch.image, ObjectID(object), type)
        try damage.apply()
        let result = try run(["get-default", scratch.image])
        #expect(result.status == status, "\(result.summary)")
        #expect(result.output.hasPrefix("ID 256 ") == (status != 32), "\(result.summary)")
        for word in words { #expect(result.errors.contains(word), "\(result.summary)") }
        #expect(try run(["list", scratch.image]).status == 1)
        try damage.undo()
      }
      let result = try run(["get-default", scratch.image])
      #expect(result.succeeded && result.errors.isEmpty, "\(result.summary)")
      try scratch.expectSound()
    }

    private func run(_ arguments: [String]) throws -> CommandResult {
      try FsmountProgram.run(["subvolume"] + arguments)
    }

    /// One byte of an item of the root tree, in all copies of its leaf.
    private struct ItemDamage {
      let image: String
      let places: [Int]
      let whole: [UInt8]
      let broken: [UInt8]

      init(_ image: String, _ id: ObjectID, _ type: ItemType) throws {
        self.image = image
        let reader = try ImageReader(device: FileDevice(path: image, readOnly: true))
        var places: [Int] = []
        var whole: [UInt8] = []
        var start = 0
        try reader.walkBlocks(reader.rootOfRootTree) { (pointer, block) throws(FilesystemError) in
          guard pointer.level == 0 else { return true }
          for slot in 0..<Int(BlockHeader(block.bytes).itemCount) {
            let at = 101 + 25 * slot
            guard Self.number(block, at, 8) == id.rawValue, block[at + 8] == type.rawValue else {
              continue
            }
            start = 101 + Int(Self.number(block, at + 17, 4))
            whole = Array(block)
            for copy in 0..<(try reader.device.copies(at: pointer.address)) {
              let place = try reader.device.locate(pointer.address, length: block.count, copy: copy)
              places.append(Int(place.offset.rawValue))
            }
            return false
          }
          return true
        }
        guard !places.isEmpty else { throw TestFailure("no such item") }
        var broken = whole
        // The level, or the length of the name.
        let field =
          switch type {
          case .rootItem: 0xee
          case .dirItem: 0x1b
          default: 0x10
          }
        broken[start + field] = 200
        let checksum = NameHash.checksum(Array(broken[32...]))
        for index in 0..<4 { broken[index] = UInt8(truncatingIfNeeded: checksum >> (8 * index)) }
        (self.places, self.whole, self.broken) = (places, whole, broken)
      }

      private static func number(
        _ bytes: UnsafeRawBufferPointer, _ offset: Int, _ size: Int
      ) -> UInt64 {
        (0..<size).reduce(0) { $0 | UInt64(bytes[offset + $1]) << (8 * UInt64($1)) }
      }

      func apply() throws { try write(broken) }
      func undo() throws { try write(whole) }

      private func write(_ block: [UInt8]) throws {
        let descriptor = try check("open \(image)") { open(image, O_WRONLY) }
        defer { close(descriptor) }
        for place in places {
          try check("pwrite") { pwrite(descriptor, block, block.count, place) }
        }
      }
    }
  }
}
