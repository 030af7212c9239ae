import Glibc

/// Operations on subvolumes, each by one command. Whether it succeeds is in the trace, not what it says.
extension OperationSequence {
  private enum SubvolumeAction: CaseIterable {
    case create, snapshot, delete, setReadOnly, setDefault, getDefault, useStub

    var weight: Int {
      switch self {
      case .create, .delete, .useStub: 3
      case .snapshot: 5
      case .setReadOnly: 3
      case .setDefault: 2
      case .getDefault: 1
      }
    }
  }

  private static let subvolumeTable = SubvolumeAction.allCases.flatMap {
    Array(repeating: $0, count: $0.weight)
  }

  /// Beyond it, they are deleted rather than made.
  private static let subvolumeLimit = 12

  func changeSubvolumes(_ tool: SubvolumeTool) throws -> String {
    var action = random.pick(Self.subvolumeTable)
    let isFull =
      model.paths(.subvolume).count >= Self.subvolumeLimit || model.count > options.entryLimit
    if isFull, action == .create || action == .snapshot { action = .delete }
    switch action {
    case .create: return try createSubvolume(tool)
    case .snapshot: return try snapshotSubvolume(tool)
    case .delete: return try deleteSubvolume(tool)
    case .setReadOnly: return try changeReadOnly(tool)
    case .setDefault: return try setDefault(tool)
    case .getDefault: return "get-default = \(try defaultSubvolume(tool))"
    case .useStub: return useStub()
    }
  }

  private func answer(_ result: CommandResult) throws -> String {
    switch result.status {
    case 0: "done"
    case 1, 32: "refused"
    // A command that was used wrongly, crashed, or came to no end.
    default: throw TestFailure(result.summary)
    }
  }

  /// What a command can be given: a path that is text.
  private func text(_ path: BytePath) -> String? {
    String(validating: full(path).bytes, as: UTF8.self)
  }

  /// A place for a subvolume, now and then one where something stands.
  private func newPlace() -> BytePath {
    let place = random.oneIn(3) ? BytePath([]) : directory()
    let name = random.oneIn(4) ? names.name(&random) : Array("s\(random.below(40))".utf8)
    return place.appending(name)
  }

  /// Mostly a subvolume; now and then something else.
  private func someSubvolume() -> BytePath {
    random.oneIn(12) ? existing(.directory, .file) : existing(.subvolume)
  }

  private func createSubvolume(_ tool: SubvolumeTool) throws -> String {
    var path = newPlace()
    let withParents = random.oneIn(4)
    var above: [BytePath] = []
    if withParents {
      for name in ["in", "it"].prefix(random.within(1...2)) {
        above.append(path)
        path = path.appending(name)
      }
    }
    guard let text = text(path) else { return "(no place for a subvolume)" }
    let result = try answer(tool.create(text, withParents: withParents))
    if result == "done" {
      for directory in above { model.add(directory, .directory) }
      model.add(path, .subvolume)
    }
    return "subvolume create \(show(path))\(withParents ? " with parents" : "") = \(result)"
  }

  private func snapshotSubvolume(_ tool: SubvolumeTool) throws -> String {
    let source = someSubvolume()
    let target = random.oneIn(4) ? directory() : newPlace()
    // In a directory it has the name of its source.
    let isInside = model.kinds[target]?.isDirectory ?? false
    let path = isInside ? target.appending(source.lastComponent) : target
    guard let sourceText = text(source), let targetText = text(target),
      !(isInside && source.bytes.isEmpty)
    else { return "(no snapshot)" }
    let isReadOnly = random.oneIn(3)
    let result = try answer(
      tool.run(["snapshot"] + (isReadOnly ? ["-r"] : []) + [sourceText, targetText]))
    if result == "done" { model.addSnapshot(of: source, at: path, isReadOnly: isReadOnly) }
    return "subvolume snapshot\(isReadOnly ? " -r" : "") \(show(source)) \(show(path)) = \(result)"
  }

  private func deleteSubvolume(_ tool: SubvolumeTool) throws -> String {
    let path = someSubvolume()
    guard let text = text(path), !isProtected(path) else { return "(keeps \(show(path)))" }
    let commit = random.pick([[], [], ["-c"], ["-C"]])
    var place = [text]
    if random.oneIn(4), model.kinds[path] == .subvolume {
      guard let number = try tool.number(of: text) else {
        throw TestFailure("'subvolume show \(text)' does not tell its number")
      }
      place = ["-i", number, root.string]
    }
    let shown = show(path)
    let result = try answer(tool.run(["delete"] + commit + place))
    if result == "done" { model.detach(path) }
    return "subvolume delete \(place.count > 1 ? "by number " : "")\(shown) = \(result)"
  }

  private func changeReadOnly(_ tool: SubvolumeTool) throws -> String {
    let current = model.readOnly.sorted()
    let isReadOnly = current.isEmpty || random.oneIn(3)
    let path = isReadOnly ? someSubvolume() : random.pick(current)
    guard let text = text(path) else { return "(no subvolume to change)" }
    let isForced = random.oneIn(2)
    // Linux still takes writes through files that were opened for writing before.
    while isReadOnly, !handles.isEmpty { _ = closeHandle() }
    let result = try answer(tool.setReadOnly(text, isReadOnly, isForced: isForced))
    if result == "done" { model.setReadOnly(path, isReadOnly) }
    return "subvolume set-\(isReadOnly ? "ro" : "rw")\(isForced ? " -f" : "") \(show(path)) = "
      + result
  }

  private func setDefault(_ tool: SubvolumeTool) throws -> String {
    // The top level, by its number, so that others can be deleted again.
    if random.oneIn(2) {
      let result = try answer(tool.run(["set-default", "5", root.string]))
      return "subvolume set-default . by number = \(result)"
    }
    let path = someSubvolume()
    guard let text = text(path) else { return "(\(show(path)) is no text)" }
    var words = [text]
    let isByNumber = random.oneIn(2)
    if isByNumber {
      guard let number = try tool.number(of: text) else { return "(\(show(path)) has no number)" }
      words = [number, root.string]
    }
    let result = try answer(tool.run(["set-default"] + words))
    return "subvolume set-default \(show(path))\(isByNumber ? " by number" : "") = \(result)"
  }

  /// Its path; numbers may differ.
  private func defaultSubvolume(_ tool: SubvolumeTool) throws -> String {
    let text = try tool.run(["get-default", root.string]).orThrow().output
    guard let start = text.firstRange(of: " path ") else { return "top level" }
    return printable(Array(text[start.upperBound...].utf8.dropLast()))
  }

  /// In the empty directory that stands for a subvolume nothing can be made, but it can go.
  private func useStub() -> String {
    guard !model.paths(.stub).isEmpty else { return "(no stub)" }
    let path = random.pick(model.paths(.stub))
    let inside = path.appending("n\(random.below(60))")
    let shown = show(path)
    var status = stat()
    switch random.below(6) {
    case 0:
      let result = outcome { full(path).withCPath { rmdir($0) } }
      if result == 0 { model.remove(path) }
      return "rmdir stub \(shown) = \(resultText(result))"
    case 1:
      let target = newPath()
      let result = outcome {
        full(path).withCPath { source in full(target).withCPath { rename(source, $0) } }
      }
      if result == 0 { model.move(path, to: target) }
      return "rename stub \(shown) \(show(target)) = \(resultText(result))"
    case 2:
      let source = existing(.file)
      let results = [
        outcome { full(source).withCPath { old in full(inside).withCPath { rename(old, $0) } } },
        outcome { full(source).withCPath { old in full(inside).withCPath { link(old, $0) } } },
      ]
      return "move \(show(source)) into stub \(shown) = "
        + results.map(resultText).joined(separator: " ")
    case 3:
      let results = [
        outcome { full(inside).withCPath { open($0, O_CREAT | O_WRONLY, 0o644) } },
        outcome { full(inside).withCPath { mkdir($0, 0o755) } },
        outcome { full(inside).withCPath { mknod($0, S_IFIFO | 0o644, 0) } },
        outcome { full(inside).withCPath { symlink("target", $0) } },
      ]
      return "make in stub \(shown) = \(results.map(resultText).joined(separator: " "))"
    case 4:
      let results = [
        outcome { full(inside).withCPath { lstat($0, &status) } },
        outcome { full(inside).withCPath { unlink($0) } },
        outcome { full(path).withCPath { unlink($0) } },
      ]
      return "look into stub \(shown) = \(results.map(resultText).joined(separator: " "))"
    default:
      let result = outcome { full(path).withCPath { lstat($0, &status) } }
      let count = (try? directoryNames(full(path)).count) ?? -1
      return "stat stub \(shown) = \(resultText(result)) 0\(String(status.st_mode, radix: 8)) "
        + "links \(status.st_nlink) \(status.st_uid):\(status.st_gid) size \(status.st_size), "
        + "\(count) entries"
    }
  }
}
