/// The commands about subvolumes of whoever has mounted an image: `btrfs subvolume` of Linux's mounts,
/// `fsmount subvolume` of ours.
package struct SubvolumeTool: Sendable {
  package let kind: MountKind

  package init(_ kind: MountKind) { self.kind = kind }

  /// Runs a command that both have in the same words.
  package func run(_ arguments: [String]) throws -> CommandResult {
    switch kind {
    case .kernel: try Shell.run(["btrfs", "subvolume"] + arguments)
    case .fsmount: try FsmountProgram.run(["subvolume"] + arguments)
    }
  }

  /// Makes the directories above, too, if that is wanted.
  func create(_ path: String, withParents: Bool) throws -> CommandResult {
    guard withParents else { return try run(["create", path]) }
    if kind == .fsmount { return try run(["create", "-p", path]) }
    // btrfs-progs 6.2 has no such option.
    let made = try Shell.run("mkdir", "-p", BytePath(path).parent.string)
    return made.succeeded ? try run(["create", path]) : made
  }

  func setReadOnly(_ path: String, _ isReadOnly: Bool, isForced: Bool) throws -> CommandResult {
    switch kind {
    case .kernel:
      try Shell.run(
        ["btrfs", "property", "set"] + (isForced ? ["-f"] : []) + [path, "ro", "\(isReadOnly)"])
    case .fsmount:
      try run([isReadOnly ? "set-ro" : "set-rw"] + (isForced && !isReadOnly ? ["-f"] : []) + [path])
    }
  }

  /// The number of the subvolume at a path, as `show` tells it.
  func number(of path: String) throws -> String? {
    let shown = try run(["show", path])
    guard shown.succeeded else { return nil }
    let line = shown.output.split(separator: "\n").first { $0.contains("Subvolume ID:") }
    return line?.split { $0 == " " || $0 == "\t" }.last.map(String.init)
  }
}
