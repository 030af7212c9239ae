import Glibc

/// What a tool says of the subvolumes of an image.
package struct SubvolumeListings: Equatable, Sendable {
  /// Both tools must print these alike of one image, byte for byte.
  private static let questions: [[String]] = [
    ["list", "-pcguqR"], ["list", "-a", "-tpuqR"], ["list", "-spuqR"], ["list", "-r"],
    ["list", "-o", "--sort=-ogen,path"], ["get-default"],
  ]

  private let answers: [String]

  /// - Parameter path: a mount of the top level, or for fsmount an image that is not mounted.
  package init(_ tool: SubvolumeTool, _ path: String) throws {
    answers = try Self.questions.map {
      let result = try tool.run($0 + [path]).orThrow()
      guard result.errors.isEmpty else { throw TestFailure(result.summary) }
      return result.output
    }
  }

  /// Throws with the first answer that differs.
  package func expectSame(as other: SubvolumeListings, names: (String, String)) throws {
    for (question, (mine, theirs)) in zip(Self.questions, zip(answers, other.answers))
    where mine != theirs {
      throw TestFailure(
        """
        'subvolume \(question.joined(separator: " "))' differs.
        \(names.0):
        \(mine)\(names.1):
        \(theirs)
        """)
    }
  }

  /// What twins must agree on, with paths for numbers: those, and generations and UUIDs, differ.
  package var described: [String] {
    let entries = Entry.all(in: answers[0])
    var paths = ["5": "the top level"]
    var owners: [String: String] = [:]
    for entry in entries {
      paths[entry["ID"]] = entry.path
      owners[entry["uuid"]] = entry.path
    }
    func owner(_ uuid: String) -> String { uuid == "-" ? "-" : owners[uuid] ?? "one that is gone" }
    let readOnly = Set(Entry.all(in: answers[3]).map { $0["ID"] })
    let defaultID = answers[5].split(separator: " ").dropFirst().first.map(String.init) ?? ""
    let lines = entries.map { entry in
      "\(entry.path): in \(paths[entry["parent"]] ?? "?"), top level "
        + "\(paths[entry["level"]] ?? "?"), snapshot of \(owner(entry["parent_uuid"])), received "
        + "\(owner(entry["received_uuid"])), \(entry["uuid"].utf8.count) bytes of UUID"
        + (readOnly.contains(entry["ID"]) ? ", read-only" : "")
    }
    return lines.sorted() + ["default: \(paths[defaultID] ?? "?")"]
  }

  /// A line of `list -pcguqR`: "ID 257 gen 9 … top level 5 … path a/b".
  private struct Entry {
    let fields: [String: String]
    let path: String

    subscript(_ name: String) -> String { fields[name] ?? "?" }

    /// A name may have line ends in it, so what does not begin as a line does belongs to the one before.
    static func all(in text: String) -> [Entry] {
      var lines: [String] = []
      let text = text.hasSuffix("\n") ? text.dropLast() : text[...]
      for part in text.split(separator: "\n", omittingEmptySubsequences: false) {
        if part.hasPrefix("ID "), part.contains(" path ") {
          lines.append(String(part))
        } else if let last = lines.popLast() {
          lines.append("\(last)\n\(part)")
        }
      }
      return lines.compactMap(Entry.init)
    }

    init?(_ line: String) {
      guard let end = line.firstRange(of: " path ") else { return nil }
      var words = line[..<end.lowerBound].split(separator: " ").map(String.init)
      words.removeAll { $0 == "top" }
      fields = Dictionary(
        stride(from: 0, to: words.count - 1, by: 2).map { (words[$0], words[$0 + 1]) },
        uniquingKeysWith: { first, _ in first })
      path = printable(Array(line[end.upperBound...].utf8))
    }
  }
}
