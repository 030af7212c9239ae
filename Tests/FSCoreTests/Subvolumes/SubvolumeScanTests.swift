import TestSupport
import Testing

@testable import FSCore

/// What a listing makes of root items and root references that are damaged, contradict each other, or
/// lead nowhere.
@Suite(.timeLimit(.minutes(2))) struct SubvolumeScanTests {
  /// Directories by subvolume and number: where each stands, and its name.
  private struct Directories: DirectoryLinks {
    final class Counter {
      var count = 0
    }

    var links: [InodeID: (parent: ObjectID, name: String)] = [:]
    let lookups = Counter()

    func link(
      of directory: ObjectID, in tree: TreeID
    ) throws(FilesystemError) -> (parent: ObjectID, name: [UInt8])? {
      lookups.count += 1
      return links[InodeID(tree: tree, number: directory)].map { ($0.parent, Array($0.name.utf8)) }
    }
  }

  private typealias Item = (key: Key, bytes: [UInt8])

  private static func root(_ id: UInt64, references: UInt32 = 1) -> Item {
    var item = RootItem(address: 1_048_576, level: 0, generation: 9, nodeSize: 16384)
    item.references = references
    return (Key(ObjectID(id), .rootItem, 0), item.bytes)
  }

  private static func reference(_ directory: UInt64, _ name: String) -> [UInt8] {
    ValidationFixture.encoded(18 + name.utf8.count) {
      $0.store(directory, at: 0)
      $0.store(UInt16(name.utf8.count), at: 0x10)
      $0.store(Array(name.utf8), at: 18)
    }
  }

  private static func back(
    _ id: UInt64, in parent: UInt64, directory: UInt64 = 256, _ name: String
  ) -> Item {
    (Key(ObjectID(id), .rootBackref, parent), reference(directory, name))
  }

  private static func forward(_ parent: UInt64, to child: UInt64, _ name: String) -> Item {
    (Key(ObjectID(parent), .rootRef, child), reference(256, name))
  }

  private func listing(
    _ items: [Item], _ directories: Directories = Directories(), damaged: Key? = nil
  ) -> SubvolumeListing {
    var scan = SubvolumeScan()
    for item in items.sorted(by: { $0.key < $1.key }) {
      item.bytes.withUnsafeBytes {
        scan.add(item.key, $0.bytes, damage: item.key == damaged ? "a rule" : nil)
      }
    }
    return scan.finish(directories)
  }

  private func paths(_ listing: SubvolumeListing) -> [String] {
    listing.subvolumes.map { "\($0.id) \(String(decoding: $0.path, as: UTF8.self))" }
  }

  @Test func whole() {
    var directories = Directories()
    directories.links[InodeID(tree: 5, number: 300)] = (301, "e")
    directories.links[InodeID(tree: 5, number: 301)] = (256, "d")
    let listing = listing(
      [
        Self.root(5), Self.root(257), Self.back(257, in: 5, "p"), Self.forward(5, to: 257, "p"),
        Self.root(258), Self.back(258, in: 259, "below"), Self.root(259),
        Self.back(259, in: 5, directory: 300, "deep"), Self.root(260, references: 0),
      ], directories)
    #expect(paths(listing) == ["5 ", "257 p", "258 d/e/deep/below", "259 d/e/deep"])
    #expect(listing.subvolumes.map(\.parent) == [nil, 5, 259, 5])
    #expect(listing.deleted.map(\.id) == [260])
    #expect(listing.problems.isEmpty)
  }

  @Test func damagedRootItem() {
    var items = [
      Self.root(5), Self.root(257), Self.back(257, in: 5, "p"), Self.root(258),
      Self.back(258, in: 257, "n"), Self.root(259), Self.back(259, in: 5, "q"),
    ]
    items[1].bytes = [UInt8](repeating: 7, count: 17)
    let cut = listing(items)
    // What stands in it is found by the name that it has still.
    #expect(paths(cut) == ["5 ", "258 p/n", "259 q"])
    #expect(cut.problems.count == 1)
    #expect(cut.problems[0].contains("subvolume 257 ") && cut.problems[0].contains("17 bytes"))

    items[1] = Self.root(257)
    let broken = listing(items, damaged: items[1].key)
    #expect(paths(broken) == ["5 ", "258 p/n", "259 q"])
    #expect(broken.problems.count == 1)
    #expect(broken.problems[0].contains("subvolume 257 ") && broken.problems[0].contains("a rule"))
  }

  @Test func damagedReference() {
    var items = [
      Self.root(5), Self.forward(5, to: 257, "p"), Self.root(257), Self.back(257, in: 5, "x"),
      Self.root(258), Self.back(258, in: 5, "q"), Self.root(259),
    ]
    items[3].bytes[0x10] = 200
    items[5].bytes = []
    let listing = listing(items)
    #expect(paths(listing) == ["5 ", "257 p", "258 ", "259 "])
    #expect(listing.subvolumes.map(\.parent) == [nil, 5, nil, nil])
    #expect(listing.problems.count == 3)
    for (problem, words) in zip(
      listing.problems,
      [
        ["subvolume 257:", "damaged", "ROOT_REF of 5"],
        ["subvolume 258:", "damaged", "nothing else"],
        ["subvolume 259:", "missing", "nothing else"],
      ])
    {
      for word in words { #expect(problem.contains(word), "\(problem)") }
    }
  }

  @Test func damageOfOthers() {
    var items = [
      Self.root(5), Self.forward(5, to: 257, "p"), Self.root(2), Self.back(300, in: 5, "x"),
    ]
    for index in 1..<4 { items[index].bytes = [1, 2, 3] }
    // Only what is looked at is decoded: tree 2 is none of the subvolumes.
    let listing = listing(items, damaged: items[2].key)
    #expect(paths(listing) == ["5 "])
    #expect(listing.problems.count == 3)
    #expect(listing.problems.contains { $0.contains("ROOT_REF for 257") })
    #expect(listing.problems.contains { $0.contains("subvolume 300:") })
    #expect(listing.problems.contains { $0.contains("root tree, item") })
  }

  @Test func nowhere() {
    var directories = Directories()
    directories.links[InodeID(tree: 5, number: 300)] = (301, "a")
    directories.links[InodeID(tree: 5, number: 301)] = (300, "b")
    let listing = listing(
      [
        Self.root(5), Self.back(5, in: 257, "itself"),
        // In each other, in itself, in one that is not there, in a directory that is in itself or gone.
        Self.root(257), Self.back(257, in: 258, "p"), Self.root(258), Self.back(258, in: 257, "q"),
        Self.root(259), Self.back(259, in: 259, "r"), Self.root(260), Self.back(260, in: 999, "s"),
        Self.root(261), Self.back(261, in: 5, directory: 300, "t"), Self.root(262),
        Self.back(262, in: 5, directory: 400, "u"), Self.root(263), Self.back(263, in: 262, "v"),
        Self.root(264), Self.back(264, in: 5, "good"),
      ], directories)
    #expect(
      paths(listing)
        == ["5 ", "257 ", "258 ", "259 ", "260 ", "261 ", "262 ", "263 ", "264 good"])
    #expect(listing.problems.count == 7)
    for (id, problem) in zip(257...263, listing.problems) {
      #expect(problem.hasPrefix("subvolume \(id): its path is not known"), "\(problem)")
    }
  }

  /// Each directory is looked up once, whether it is found or not: many subvolumes below one that is in
  /// a circle cost the others nothing.
  @Test func directoriesAreLookedUpOnce() {
    var directories = Directories()
    directories.links[InodeID(tree: 5, number: 300)] = (301, "a")
    directories.links[InodeID(tree: 5, number: 301)] = (300, "b")
    directories.links[InodeID(tree: 5, number: 302)] = (303, "x")
    directories.links[InodeID(tree: 5, number: 303)] = (.firstFree, "good")
    var items = [Self.root(5)]
    for id in 257..<1457 as Range<UInt64> {
      items += [Self.root(id), Self.back(id, in: 5, directory: 300 + id % 2, "s\(id)")]
    }
    for id in 1457..<1657 as Range<UInt64> {
      items += [Self.root(id), Self.back(id, in: 5, directory: 302, "s\(id)")]
    }
    let listing = listing(items, directories)
    let found = listing.subvolumes.filter { !$0.path.isEmpty }
    #expect(found.map(\.id.rawValue) == Array(1457..<1657))
    #expect(found.allSatisfy { $0.path == Array("good/x/s\($0.id.rawValue)".utf8) })
    #expect(listing.problems.last == "1200 problems in all")
    #expect(directories.lookups.count == 4)
  }

  /// Paths that no program could use, and problems without number, take bounded memory.
  @Test func bounds() {
    let name = String(repeating: "n", count: 255)
    var items = [Self.root(5)]
    for id in 257..<1257 as Range<UInt64> {
      items += [Self.root(id), Self.back(id, in: id == 257 ? 5 : id - 1, name)]
    }
    // So many that it is not all paths together that are too long.
    for id in 2000..<9000 as Range<UInt64> {
      items += [Self.root(id), Self.back(id, in: 5, "s\(id)")]
    }
    let listing = listing(items)
    #expect(listing.subvolumes.count == 8001)
    #expect(listing.subvolumes.allSatisfy { $0.path.count <= 64 << 10 })
    #expect(listing.subvolumes[256].path.count == 256 * 256 - 1)
    #expect(listing.subvolumes[257].path.isEmpty)
    #expect(listing.problems.count == 101)
    #expect(listing.problems.last == "744 problems in all")
    #expect(listing.damaged == Set((513..<1257).map { TreeID($0) }))
  }

  /// All paths together stay in proportion to the number of subvolumes; those that are not UTF-8 to what an
  /// answer takes that has their bytes as numbers.
  @Test(arguments: [UInt8(ascii: "n"), 0xff]) func allPathsTogether(byte: UInt8) {
    let name = [UInt8](repeating: byte, count: 255)
    var items = [Self.root(5)]
    for id in 257..<1257 as Range<UInt64> {
      var reference = Self.reference(256, String(repeating: "n", count: 255))
      reference.replaceSubrange(18..., with: name)
      items.append(Self.root(id))
      items.append((Key(ObjectID(id), .rootBackref, id == 257 ? 5 : id - 1), reference))
    }
    let listing = listing(items)
    let bytes = listing.subvolumes.reduce(0) { $0 + $1.path.count }
    let limit = (2 << 20 + 1001 << 11) / (byte == 0xff ? 16 : 1)
    #expect(bytes <= limit && bytes > limit * 9 / 10)
    let found = listing.subvolumes.dropFirst().prefix { !$0.path.isEmpty }
    #expect(found.count > 30)
    #expect(listing.subvolumes.dropFirst(1 + found.count).allSatisfy { $0.path.isEmpty })
    #expect(
      listing.problems.first
        == "subvolume \(257 + found.count): its path is not known: all paths together are too long")
    // Where something stands is known all the same.
    #expect(listing.subvolumes.allSatisfy { $0.id == .topLevel || $0.name == name })
  }

  /// A forged number in a root item, or a name's length in a reference: all other subvolumes are listed, and
  /// the one that is not is named.
  @Test(.timeLimit(.minutes(2)), arguments: [1, 2, 3] as [UInt64])
  func forgedItems(seed: UInt64) throws {
    let image = try TestImage.make(sizeBytes: 256 << 20)
    let volume = try Volume.mountForTest(image)
    try volume.makeSubvolume("p")
    try volume.makeDirectory("d")
    try volume.makeSubvolume("d/q")
    try volume.makeSnapshot(of: "p", "s")
    let made = try volume.subvolumes.list()
    try volume.unmount()
    let whole = try SubvolumeSurvey(ImageReader(device: image)).listing()
    #expect(whole.problems.isEmpty && made.problems.isEmpty)
    #expect(paths(whole) == paths(made) && paths(whole).count == 4)

    let forge = try FieldForge(image)
    var random = SeededRandom(testSeed: seed)
    for id in whole.subvolumes.dropFirst().map(\.id) {
      let others = whole.subvolumes.map(\.id).filter { $0 != id }
      var fields = forge.fields.filter {
        $0.name.hasPrefix("tree 1 ROOT_ITEM \(id) ") && !$0.name.contains("key")
      }
      #expect(fields.count > 10)
      let start = try forge.field("tree 1 ROOT_BACKREF \(id) ", "key + 0x11")
      fields.append(
        FieldForge.Field(
          name: "length", places: start.places, blockSize: start.blockSize,
          offset: Format.headerSize + Int(start.value) + 0x10, size: 2, value: 1))
      for field in fields {
        for value in forge.values(for: field) where random.oneIn(4) {
          let reader = try ImageReader(device: forge.forged([(field, value)]))
          let listing = try SubvolumeSurvey(reader).listing()
          let found = listing.subvolumes.map(\.id)
          let isTold = listing.problems.contains { $0.contains("subvolume \(id)") }
          #expect(found.filter { $0 != id } == others, "\(field.name) = \(value)")
          #expect(
            found.contains(id) || isTold || listing.deleted.contains { $0.id == id },
            "\(field.name) = \(value)")
          #expect(field.name != "length" || isTold)
        }
      }
    }
  }

  /// What is renamed looks as if it were nowhere for a moment: no listing says so.
  @Test func listedWhileNamesChange() throws {
    let volume = try Volume.mountForTest(try TestImage.make { $0.spaceRecord = .v2 })
    let root = InodeID(tree: .topLevel, number: .firstFree)
    let one = try volume.makeDirectory("/one")
    let other = try volume.makeDirectory("/other")
    try volume.makeSubvolume("/one/v")
    try volume.makeSubvolume("/one/v/below")
    try volume.makeSubvolume("/other/w")
    let isOver = Guarded(false, rank: .leaf)
    let renamer = BackgroundThread {
      var places = (one, other)
      while !isOver.withLock({ $0 }) {
        let error = errorNumber {
          try volume.namespace.rename("v", in: places.0, to: "v", in: places.1)
          try volume.namespace.rename("one", in: root, to: "two", in: root)
          try volume.namespace.rename("two", in: root, to: "one", in: root)
        }
        if error != 0 { break }
        places = (places.1, places.0)
      }
    }
    for _ in 0..<300 {
      let listing = try volume.subvolumes.list()
      let paths = listing.subvolumes.map { String(decoding: $0.path, as: UTF8.self) }
      guard listing.problems.isEmpty, paths.count == 4, paths.dropFirst().allSatisfy({ $0 != "" })
      else {
        Issue.record("\(paths): \(listing.problems)")
        break
      }
    }
    isOver.withLock { $0 = true }
    renamer.join()
    #expect(try volume.subvolumes.list().problems.isEmpty)
    try volume.unmount()
  }

  @Test func defaultSubvolume() throws {
    let image = try TestImage.make(sizeBytes: 256 << 20)
    let volume = try Volume.mountForTest(image)
    let id = try volume.makeSubvolume("p").tree
    #expect(try SubvolumeSurvey(ImageReader(device: image)).defaultSubvolume().id == .topLevel)
    try volume.subvolumes.setDefault(id)
    try volume.unmount()
    #expect(try SubvolumeSurvey(ImageReader(device: image)).defaultSubvolume().id == id)
  }
}
