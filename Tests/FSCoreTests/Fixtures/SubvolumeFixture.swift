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
