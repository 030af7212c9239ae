import Testing

@testable import FSCore
@testable import fsmount

/// Lists of subvolumes as btrfs-progs 6.2 prints them; `SubvolumeListTests` asks it.
@Suite(.timeLimit(.minutes(2))) struct SubvolumeTableTests {
  /// `a`, `a/n` and `a/n/x` in each other, `d/b` and a snapshot of `a`, read-only, with a name that is not
  /// UTF-8.
  private static let answer: SubvolumeListCall.Answer = {
    let uuid = UUIDBytes(text: "66079fc0-28ce-8646-b7ca-ac35243d7575") ?? .zero
    func record(
      _ id: UInt64, in parent: UInt64?, _ path: [UInt8], generation: UInt64,
      _ change: (inout RootItem) -> Void = { _ in }
    ) -> SubvolumeRecord {
      var item = RootItem(
        address: 4096, level: 0, generation: Generation(generation), nodeSize: 16384)
      item.creationTransaction = Generation(id - 250)
      change(&item)
      var record = SubvolumeRecord(id: TreeID(id), item: item)
      record.parent = parent.map { TreeID($0) }
      record.path = path
      record.name = Array(path.split(separator: UInt8(ascii: "/")).last ?? [])
      return record
    }
    var listing = SubvolumeListing()
    var top = RootItem(address: 4096, level: 0, generation: 30, nodeSize: 16384)
    top.uuid = .zero
    listing.subvolumes = [
      SubvolumeRecord(id: .topLevel, item: top),
      record(256, in: 5, Array("a".utf8), generation: 12) { $0.uuid = uuid },
      record(257, in: 256, Array("a/n".utf8), generation: 9),
      record(258, in: 257, Array("a/n/x".utf8), generation: 9),
      record(259, in: 5, Array("d/b".utf8), generation: 7),
      record(260, in: 5, [0x73, 0xff], generation: 10) {
        $0.parentUUID = uuid
        $0.isReadOnly = true
      },
      record(261, in: nil, [], generation: 11),
    ]
    listing.deleted = [record(262, in: nil, [], generation: 8)]
    return SubvolumeListCall.Answer(
      listing, defaultSubvolume: FoundDefault(.topLevel),
      asked: InodeID(tree: 257, number: .firstFree))
  }()

  private func lines(
    _ columns: [SubvolumeTable.Column] = [.id, .path],
    _ change: (inout SubvolumeSelection) -> Void = { _ in }
  ) -> [String] {
    var selection = SubvolumeSelection()
    change(&selection)
    let table = SubvolumeTable(columns: columns)
    return selection.entries(of: Self.answer).map {
      // A byte that is not UTF-8 is told from what stands for it.
      String(decoding: table.line($0).map { $0 == 0xff ? UInt8(ascii: "?") : $0 }, as: UTF8.self)
    }
  }

  @Test func paths() {
    #expect(
      lines() == [
        "ID 256 path a", "ID 257 path a/n", "ID 258 path x", "ID 259 path d/b", "ID 260 path s?",
        "ID 261 path <UNKNOWN>/",
      ])
    #expect(lines { $0.form = .below } == ["ID 258 path a/n/x"])
    #expect(
      lines { $0.form = .marked }.prefix(4) == [
        "ID 256 path <FS_TREE>/a", "ID 257 path <FS_TREE>/a/n", "ID 258 path a/n/x",
        "ID 259 path <FS_TREE>/d/b",
      ])
    #expect(lines { $0.deletedOnly = true } == ["ID 262 path DELETED"])
    #expect(
      lines {
        $0.deletedOnly = true
        $0.form = .marked
      } == ["ID 262 path <FS_TREE>/DELETED"])
    #expect(
      lines {
        $0.deletedOnly = true
        $0.form = .below
      }.isEmpty)
  }

  @Test func columns() {
    let all: [SubvolumeTable.Column] = [
      .id, .generation, .creationGeneration, .parent, .topLevel, .parentUUID, .receivedUUID, .uuid,
      .path,
    ]
    let none = "-" + String(repeating: " ", count: 35)
    let uuid = "66079fc0-28ce-8646-b7ca-ac35243d7575"
    #expect(
      lines(all)[0] == "ID 256 gen 12 cgen 6 parent 5 top level 5 parent_uuid \(none) "
        + "received_uuid \(none) uuid \(uuid) path a")
    #expect(
      lines(all)[4].contains(" parent_uuid \(uuid) received_uuid \(none) uuid \(none) path s?"))
    let table = SubvolumeTable(columns: [.id, .generation, .topLevel, .path])
    #expect(
      table.heading.map { String(decoding: $0, as: UTF8.self) } == [
        "ID\tgen\ttop level\tpath\t", "--\t---\t---------\t----\t",
      ])
    let entries = SubvolumeSelection().entries(of: Self.answer)
    #expect(String(decoding: table.row(entries[0]), as: UTF8.self) == "256\t12\t5\t\ta")
  }

  @Test func filtersAndOrder() {
    func ids(_ change: (inout SubvolumeSelection) -> Void) -> [String] {
      lines([.id], change).map { String($0.dropFirst(3)) }
    }
    #expect(ids { $0.snapshotsOnly = true } == ["260"])
    #expect(ids { $0.readOnlyOnly = true } == ["260"])
    #expect(ids { $0.generation = .init("+10") } == ["256", "260", "261"])
    #expect(ids { $0.generation = .init("-9") } == ["257", "258", "259"])
    #expect(ids { $0.generation = .init("9") } == ["257", "258"])
    #expect(ids { $0.creationGeneration = .init("+10") } == ["260", "261"])
    for text in ["", "+", "-", "x", "9x", "++9", "0x9", "18446744073709551616", " 9"] {
      #expect(SubvolumeSelection.Bound(text) == nil, "\(text)")
    }
    func order(_ words: String...) -> [String] {
      ids { $0.order = words.compactMap { SubvolumeSelection.Order($0[...]) } }
    }
    #expect(order("gen") == ["259", "257", "258", "260", "261", "256"])
    #expect(order("-gen") == ["256", "261", "260", "257", "258", "259"])
    #expect(order("-rootid") == ["261", "260", "259", "258", "257", "256"])
    #expect(order("+gen", "-ogen") == ["259", "258", "257", "260", "261", "256"])
    #expect(order("path") == ["261", "256", "257", "259", "260", "258"])
    for word in ["", "-", "size", "--gen", "Gen"] {
      #expect(SubvolumeSelection.Order(word[...]) == nil, "\(word)")
    }
  }

  @Test func bytesOfNamesGoThroughJSON() throws {
    let text = ControlJSON.encode(Self.answer)
    let decoded = try ControlJSON.decode(SubvolumeListCall.Answer.self, from: text)
    let report = try #require(decoded.subvolumes.first { $0.id == 260 })
    #expect(report.wholePath == [0x73, 0xff] && report.wholeName == [0x73, 0xff])
    #expect(decoded.subvolumes[1].pathBytes == nil && decoded.subvolumes[1].wholePath == [0x61])
    #expect(decoded.subvolumes == Self.answer.subvolumes && decoded.asked == 257)
    // What an older mount answers.
    let old = try ControlJSON.decode(
      SubvolumeListCall.Answer.self,
      from: Array(#"{"subvolumes": [], "default_subvolume": 5}"#.utf8))
    #expect(old.deleted == nil && old.problems == nil)
  }
}
