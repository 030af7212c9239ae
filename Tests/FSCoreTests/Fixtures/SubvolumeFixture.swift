import TestSupport

@testable import FSCore

/// Operations on subvolumes, by path.
extension Volume {
  private func place(_ path: String) throws -> (InodeID, [UInt8]) {
    let parts = path.split(separator: "/")
    return (
      try find(parts.dropLast().joined(separator: "/")),
      Array(parts.last.map { Array($0.utf8) } ?? [])
    )
  }

  @discardableResult
  func makeSubvolume(_ path: String) throws -> InodeID {
    let (directory, name) = try place(path)
    return try subvolumes.create(name, in: directory, mode: 0o755, Self.testOwner).id
  }

  @discardableResult
  func makeSnapshot(
    of source: String, _ path: String, isReadOnly: Bool = false
  ) throws -> InodeID {
    let (directory, name) = try place(path)
    return try subvolumes.snapshot(
      of: find(source), name, in: directory, isReadOnly: isReadOnly
    ).id
  }

  /// The lines of `stateLines` that are below a path, from there on.
  func stateLines(below path: String) throws -> [String] {
    try stateLines().compactMap { line in
      line.hasPrefix(path + "/") ? String(line.dropFirst(path.count)) : nil
    }
  }
}

extension Volume {
  func deleteSubvolume(_ path: String) throws {
    let parts = path.split(separator: "/")
    try subvolumes.delete(
      Array(parts.last!.utf8), in: find(parts.dropLast().joined(separator: "/")))
  }
}

extension SeededRandom {
  mutating func shuffle<Element>(_ list: inout [Element]) {
    for index in list.indices.dropFirst() { list.swapAt(index, below(index + 1)) }
  }
}
