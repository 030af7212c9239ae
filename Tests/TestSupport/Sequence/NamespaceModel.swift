import Glibc

/// What the sequence believes to be in the tree. It follows from the results of the operations,
/// so two file systems that answer alike are asked alike.
struct NamespaceModel {
  enum Kind: Int, CaseIterable {
    case directory, file, symlink, special
  }

  private(set) var kinds: [BytePath: Kind] = [:]
  private var lists: [[BytePath]] = Array(repeating: [], count: Kind.allCases.count)

  var count: Int { kinds.count }

  func paths(_ kind: Kind) -> [BytePath] { lists[kind.rawValue] }

  mutating func add(_ path: BytePath, _ kind: Kind) {
    guard kinds.updateValue(kind, forKey: path) == nil else { return }
    lists[kind.rawValue].append(path)
  }

  mutating func remove(_ path: BytePath) {
    guard let kind = kinds.removeValue(forKey: path) else { return }
    if let index = lists[kind.rawValue].firstIndex(of: path) {
      lists[kind.rawValue].remove(at: index)
    }
  }

  /// Takes out a path and all below it, and gives them back for insertion elsewhere.
  mutating func detach(_ path: BytePath) -> [(suffix: [UInt8], kind: Kind)] {
    guard let kind = kinds[path] else { return [] }
    if kind != .directory {
      remove(path)
      return [([], kind)]
    }
    var parts: [(suffix: [UInt8], kind: Kind)] = []
    for list in lists {
      for inner in list where inner.isInside(path) {
        parts.append((Array(inner.bytes[path.bytes.count...]), kinds[inner]!))
      }
    }
    for part in parts { remove(BytePath(path.bytes + part.suffix)) }
    return parts
  }

  mutating func attach(_ parts: [(suffix: [UInt8], kind: Kind)], at path: BytePath) {
    for part in parts { add(BytePath(path.bytes + part.suffix), part.kind) }
  }

  mutating func move(_ source: BytePath, to target: BytePath) {
    let parts = detach(source)
    remove(target)
    attach(parts, at: target)
  }

  mutating func exchange(_ one: BytePath, _ other: BytePath) {
    let first = detach(one)
    let second = detach(other)
    attach(first, at: other)
    attach(second, at: one)
  }

  /// The tree as it is, in the file system's own order.
  init(scanning root: BytePath) throws {
    var pending = [BytePath([])]
    while let path = pending.popLast() {
      var status = stat()
      try check("lstat \(path)") { root.appending(path).withCPath { lstat($0, &status) } }
      switch status.st_mode & S_IFMT {
      case S_IFDIR:
        add(path, .directory)
        for name in try directoryNames(root.appending(path)) {
          pending.append(path.appending(name))
        }
      case S_IFREG: add(path, .file)
      case S_IFLNK: add(path, .symlink)
      default: add(path, .special)
      }
    }
  }
}
