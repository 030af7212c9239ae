import Glibc
import TestSupport
import Testing

@testable import FSCore

/// Directories as dictionaries, and what each operation must answer.
struct NamesModel {
  struct Node {
    var isDirectory: Bool
    var links = 1
    var parent: InodeID
  }

  var nodes: [InodeID: Node] = [:]
  var entries: [InodeID: [[UInt8]: InodeID]] = [:]
  /// By ascending id, as they were made: a dictionary has another order in each process.
  private var ids: [InodeID]
  private var directories: [InodeID]
  let root: InodeID
  private let names: [[UInt8]]

  init(root: InodeID) {
    self.root = root
    (ids, directories) = ([root], [root])
    nodes[root] = Node(isDirectory: true, parent: root)
    entries[root] = [:]
    // Half of them share one hash.
    names = collidingNames(8, prefix: "c", length: 40) + (0..<8).map { Array("name\($0)".utf8) }
  }

  private func isAncestor(_ a: InodeID, of b: InodeID) -> Bool {
    var current = b
    while true {
      if current == a { return true }
      let parent = nodes[current]!.parent
      if parent == current { return false }
      current = parent
    }
  }

  private mutating func drop(_ id: InodeID) {
    nodes[id]!.links -= 1
    if nodes[id]!.links == 0 || nodes[id]!.isDirectory {
      nodes[id] = nil
      entries[id] = nil
      ids.removeAll { $0.number.rawValue == id.number.rawValue }
      directories.removeAll { $0.number.rawValue == id.number.rawValue }
    }
  }

  mutating func step(_ volume: Volume, _ random: inout SeededRandom) throws {
    func pick<T>(_ list: [T]) -> T { list[random.below(list.count)] }
    let (directory, other) = (pick(directories), pick(directories))
    let (name, newName) = (pick(names), pick(names))
    let present = entries[directory]![name]

    switch random.below(10) {
    case 0, 1:
      var made: Attributes?
      let result = errorNumber {
        made = try volume.namespace.createNode(
          name, in: directory, mode: 0o100644, Volume.testOwner)
      }
      #expect(result == (present == nil ? 0 : EEXIST))
      if let made { add(made.id, name, in: directory, isDirectory: false) }
    case 2, 3:
      var made: Attributes?
      let result = errorNumber {
        made = try volume.namespace.makeDirectory(
          name, in: directory, mode: 0o755, Volume.testOwner)
      }
      #expect(result == (present == nil ? 0 : EEXIST))
      if let made { add(made.id, name, in: directory, isDirectory: true) }
    case 4:
      guard let id = ids.randomElement(&random) else { return }
      let expected = nodes[id]!.isDirectory ? EPERM : present != nil ? EEXIST : 0
      #expect(errorNumber { try volume.namespace.link(id, name, in: directory) } == expected)
      if expected == 0 {
        nodes[id]!.links += 1
        entries[directory]![name] = id
      }
    case 5:
      let expected = present.map { nodes[$0]!.isDirectory ? EISDIR : 0 } ?? ENOENT
      #expect(errorNumber { try volume.namespace.unlink(name, in: directory) } == expected)
      if expected == 0 { drop(entries[directory]!.removeValue(forKey: name)!) }
    case 6:
      let expected =
        present.map {
          !nodes[$0]!.isDirectory ? ENOTDIR : entries[$0]!.isEmpty ? 0 : ENOTEMPTY
        } ?? ENOENT
      #expect(errorNumber { try volume.namespace.removeDirectory(name, in: directory) } == expected)
      if expected == 0 { drop(entries[directory]!.removeValue(forKey: name)!) }
    default:
      let flags = pick([RenameFlags(), RenameFlags(), .noReplace, .exchange])
      let expected = renameResult(name, directory, newName, other, flags)
      let result = errorNumber {
        try volume.namespace.rename(name, in: directory, to: newName, in: other, flags: flags)
      }
      #expect(result == expected)
      if expected == 0 { rename(name, directory, newName, other, flags) }
    }
  }

  private mutating func add(
    _ id: InodeID, _ name: [UInt8], in directory: InodeID, isDirectory: Bool
  ) {
    #expect(nodes[id] == nil)
    nodes[id] = Node(isDirectory: isDirectory, parent: directory)
    entries[directory]![name] = id
    ids.append(id)
    if isDirectory {
      entries[id] = [:]
      directories.append(id)
    }
  }

  private func renameResult(
    _ name: [UInt8], _ directory: InodeID, _ newName: [UInt8], _ other: InodeID,
    _ flags: RenameFlags
  ) -> Int32 {
    guard let source = entries[directory]![name] else { return ENOENT }
    let target = entries[other]![newName]
    if flags == .noReplace, target != nil { return EEXIST }
    if flags == .exchange, target == nil { return ENOENT }
    if directory != other {
      if nodes[source]!.isDirectory, isAncestor(source, of: other) { return EINVAL }
      if let target, nodes[target]!.isDirectory, isAncestor(target, of: directory) {
        return flags == .exchange ? EINVAL : ENOTEMPTY
      }
    }
    guard let target, flags != .exchange, target != source else { return 0 }
    switch (nodes[source]!.isDirectory, nodes[target]!.isDirectory) {
    case (true, false): return ENOTDIR
    case (false, true): return EISDIR
    case (true, true): return entries[target]!.isEmpty ? 0 : ENOTEMPTY
    case (false, false): return 0
    }
  }

  private mutating func rename(
    _ name: [UInt8], _ directory: InodeID, _ newName: [UInt8], _ other: InodeID,
    _ flags: RenameFlags
  ) {
    let source = entries[directory]![name]!
    let target = entries[other]![newName]
    if target == source { return }
    if flags == .exchange, let target {
      entries[directory]![name] = target
      if nodes[target]!.isDirectory { nodes[target]!.parent = directory }
    } else {
      entries[directory]![name] = nil
      if let target { drop(target) }
    }
    entries[other]![newName] = source
    if nodes[source]!.isDirectory { nodes[source]!.parent = other }
  }

  /// Everything that the volume shows of names is as the model has it.
  func compare(_ volume: Volume) throws {
    for (directory, names) in entries {
      var found: [[UInt8]: InodeID] = [:]
      try volume.namespace.readDirectory(directory, from: 0) { (record) throws(FilesystemError) in
        found[record.name] = record.id
        return true
      }
      #expect(found.removeValue(forKey: Array(".".utf8)) == directory)
      #expect(found.removeValue(forKey: Array("..".utf8)) == nodes[directory]!.parent)
      #expect(found == names)
      let size = names.keys.reduce(0) { $0 + 2 * $1.count }
      #expect(try volume.item(directory).size == UInt64(size))
      for (name, id) in names { #expect(try volume.namespace.lookup(name, in: directory).id == id) }
    }
    for (id, node) in nodes {
      let item = try volume.item(id)
      #expect(item.isDirectory == node.isDirectory)
      #expect(item.linkCount == UInt32(node.links))
    }
  }
}

extension Array {
  func randomElement(_ random: inout SeededRandom) -> Element? {
    isEmpty ? nil : self[random.below(count)]
  }
}
