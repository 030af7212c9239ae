import Glibc

/// What the sequence believes to be in the tree. It follows from the results of the operations,
/// so two file systems that answer alike are asked alike.
struct NamespaceModel {
  enum Kind: Int, CaseIterable {
    case directory, file, symlink, special
    /// The root directory of a subvolume, which is a directory in every other respect.
    case subvolume
    /// The empty directory that a snapshot has in place of a subvolume.
    case stub

    var isDirectory: Bool { self == .directory || self == .subvolume || self == .stub }
  }

  private(set) var kinds: [BytePath: Kind] = [:]
  /// Subvolumes that refuse changes.
  private(set) var readOnly: Set<BytePath> = []
  private var lists: [[BytePath]] = Array(repeating: [], count: Kind.allCases.count)

  var count: Int { kinds.count }

  func paths(_ kind: Kind) -> [BytePath] { lists[kind.rawValue] }

  mutating func add(_ path: BytePath, _ kind: Kind) {
    guard kinds.updateValue(kind, forKey: path) == nil else { return }
    lists[kind.rawValue].append(path)
  }

  mutating func remove(_ path: BytePath) {
    guard let kind = kinds.removeValue(forKey: path) else { return }
    readOnly.remove(path)
    if let index = lists[kind.rawValue].firstIndex(of: path) {
      lists[kind.rawValue].remove(at: index)
    }
  }

  struct Part {
    let suffix: [UInt8]
    let kind: Kind
    let isReadOnly: Bool
  }

  private func parts(_ path: BytePath) -> [Part] {
    func part(_ inner: BytePath) -> Part {
      Part(
        suffix: Array(inner.bytes[path.bytes.count...]), kind: kinds[inner]!,
        isReadOnly: readOnly.contains(inner))
    }
    guard let kind = kinds[path] else { return [] }
    guard kind.isDirectory else { return [part(path)] }
    return lists.flatMap { list in list.filter { $0.isInside(path) }.map(part) }
  }

  /// Takes out a path and all below it, and gives them back for insertion elsewhere.
  @discardableResult
  mutating func detach(_ path: BytePath) -> [Part] {
    let parts = parts(path)
    for part in parts { remove(BytePath(path.bytes + part.suffix)) }
    return parts
  }

  mutating func attach(_ parts: [Part], at path: BytePath) {
    for part in parts {
      let inner = BytePath(path.bytes + part.suffix)
      add(inner, part.kind)
      if part.isReadOnly { readOnly.insert(inner) }
    }
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

  /// The tree as it is, in the file system's own order. Without `tellingSubvolumes` their root directories
  /// count as directories.
  init(scanning root: BytePath, tellingSubvolumes: Bool) throws {
    var pending = [BytePath([])]
    while let path = pending.popLast() {
      var status = stat()
      try check("lstat \(path)") { root.appending(path).withCPath { lstat($0, &status) } }
      switch status.st_mode & S_IFMT {
      case S_IFDIR:
        add(path, tellingSubvolumes ? Self.kind(ofDirectory: path, status) : .directory)
        for name in try directoryNames(root.appending(path)) {
          pending.append(path.appending(name))
        }
      case S_IFREG: add(path, .file)
      case S_IFLNK: add(path, .symlink)
      default: add(path, .special)
      }
    }
  }

  /// By the inode's number within its subvolume, which both sides show: fsmount has the subvolume's own in
  /// the bits above. The root of the tree counts as a directory, as nothing happens to it.
  private static func kind(ofDirectory path: BytePath, _ status: stat) -> Kind {
    if path.bytes.isEmpty { return .directory }
    return switch status.st_ino & (1 << 40 - 1) {
    case 256: .subvolume
    case 2: .stub
    default: .directory
    }
  }
}

// MARK: - Subvolumes

extension NamespaceModel {
  /// The subvolume in which something stands; empty for the tree's root.
  private func subvolume(of path: BytePath) -> BytePath {
    var path = path
    while !path.bytes.isEmpty, kinds[path] != .subvolume { path = path.parent }
    return path
  }

  /// Whether a read-only subvolume refuses that this is changed, or the directory in which it stands.
  func isReadOnly(_ path: BytePath) -> Bool {
    readOnly.contains(subvolume(of: path)) || readOnly.contains(subvolume(of: path.parent))
  }

  mutating func setReadOnly(_ path: BytePath, _ isReadOnly: Bool) {
    guard kinds[path] == .subvolume || path.bytes.isEmpty else { return }
    if isReadOnly { readOnly.insert(path) } else { readOnly.remove(path) }
  }

  /// Adds a snapshot of `source`, with an empty directory for each subvolume in it.
  mutating func addSnapshot(of source: BytePath, at path: BytePath, isReadOnly: Bool) {
    var copies: [(path: BytePath, kind: Kind)] = []
    for part in parts(source) where !part.suffix.isEmpty {
      let inner = BytePath(source.bytes + part.suffix)
      // What stands in a nested subvolume is not in the snapshot.
      let holder = part.kind == .subvolume ? inner.parent : inner
      guard subvolume(of: holder) == source else { continue }
      let below = source.bytes.isEmpty ? inner : BytePath(Array(part.suffix.dropFirst()))
      copies.append((path.appending(below), part.kind == .subvolume ? .stub : part.kind))
    }
    add(path, .subvolume)
    setReadOnly(path, isReadOnly)
    for copy in copies { add(copy.path, copy.kind) }
  }
}
