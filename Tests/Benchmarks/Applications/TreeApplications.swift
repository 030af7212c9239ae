import TestSupport

extension Workplace {
  /// The tree of `archive` at the name that it has in it, unless it is there.
  fileprivate func ensure(_ name: String, from archive: String) throws {
    guard !has(name) else { return }
    try Shell.output("tar", "-C", directory, "-xf", archive)
    try sync()
  }

  fileprivate func expect(
    _ name: String, _ digest: TreeDigest, hasTimes: Bool, ignoring: String? = nil
  ) throws {
    // From the image, not from the kernel's memory.
    try remount()
    let found = try TreeDigest(BytePath(path(name)), hasTimes: hasTimes, ignoring: ignoring)
    guard found.content == digest.content, found.modes == digest.modes || !keepsModes else {
      throw TestFailure(
        "\(path(name)) is not what it should be: \(found.fileCount) files of \(digest.fileCount)")
    }
  }
}

final class UntarApplication: Application {
  let key = "untar"
  let programs = ["tar"]
  var name: String { "untar of a source tree, \(MarkdownTable.grouped(material.fileCount)) files" }
  private let material: Material

  init(_ material: Material) { self.material = material }

  func prepare(_ place: Workplace) throws {
    _ = try material.tree()
    try place.remount()
  }

  func run(_ place: Workplace) throws -> Double {
    let archive = try material.tree().archive
    return try place.secondsUntilDurable {
      try Shell.output("tar", "-C", place.directory, "-xf", archive)
    }
  }

  func verify(_ place: Workplace) throws {
    try place.expect("src", material.tree().digest, hasTimes: true)
  }
}

/// Looks for files by their names, for which directories say enough, or by their sizes.
final class FindApplication: Application {
  static let largeBytes = 16 << 10

  var key: String { bySize ? "find-size" : "find-name" }
  var name: String { bySize ? "find -size +16k" : "find -name '*.h'" }
  let programs = ["find"]
  private let material: Material
  private let bySize: Bool
  private var found = 0

  init(_ material: Material, bySize: Bool) {
    self.material = material
    self.bySize = bySize
  }

  func prepare(_ place: Workplace) throws {
    try place.ensure("src", from: material.tree().archive)
    try place.remount()
  }

  func run(_ place: Workplace) throws -> Double {
    let test = bySize ? ["-type", "f", "-size", "+\(Self.largeBytes)c"] : ["-name", "*.h"]
    return try place.seconds {
      found = try Shell.output(["find", place.path("src")] + test).count { $0 == "\n" }
    }
  }

  func verify(_ place: Workplace) throws {
    let tree = try material.tree()
    let wanted = bySize ? tree.large : tree.headers
    guard found == wanted else { throw TestFailure("find finds \(found) files of \(wanted)") }
  }
}

final class GrepApplication: Application {
  let key = "grep"
  let name = "grep -r of a rare word"
  let programs = ["grep"]
  private let material: Material
  private var found = 0

  init(_ material: Material) { self.material = material }

  static func lines(below directory: String) throws -> Int {
    try Shell.output("grep", "-r", "-w", SourceTree.rareWord, directory).count { $0 == "\n" }
  }

  func prepare(_ place: Workplace) throws {
    try place.ensure("src", from: material.tree().archive)
    try place.remount()
  }

  func run(_ place: Workplace) throws -> Double {
    try place.seconds { found = try Self.lines(below: place.path("src")) }
  }

  func verify(_ place: Workplace) throws {
    let wanted = try material.tree().rareLines
    guard found == wanted, wanted > 0 else {
      throw TestFailure("grep finds \(found) lines of \(wanted)")
    }
  }
}

final class CopyApplication: Application {
  let key = "copy"
  let name = "cp -a of the tree"
  let programs = ["cp"]
  private let material: Material

  init(_ material: Material) { self.material = material }

  func prepare(_ place: Workplace) throws {
    try place.ensure("src", from: material.tree().archive)
    try place.remount()
  }

  func run(_ place: Workplace) throws -> Double {
    try place.secondsUntilDurable {
      try Shell.output("cp", "-a", place.path("src"), place.path("copy"))
    }
  }

  func verify(_ place: Workplace) throws {
    try place.expect("copy", material.tree().digest, hasTimes: true)
  }
}

final class RemoveApplication: Application {
  let key = "remove"
  let name = "rm -rf of the copy"
  let programs = ["rm"]
  private let material: Material

  init(_ material: Material) { self.material = material }

  func prepare(_ place: Workplace) throws {
    if !place.has("copy") {
      try Shell.output("mkdir", place.path("copy"))
      try Shell.output(
        "tar", "-C", place.path("copy"), "--strip-components=1", "-xf", material.tree().archive)
      try place.sync()
    }
    try place.remount()
  }

  func run(_ place: Workplace) throws -> Double {
    try place.secondsUntilDurable { try Shell.output("rm", "-rf", place.path("copy")) }
  }

  func verify(_ place: Workplace) throws {
    guard !place.has("copy") else { throw TestFailure("\(place.path("copy")) is still there") }
  }
}

/// In a work tree whose index is up to date, as after the last command.
final class GitStatusApplication: Application {
  let key = "git-status"
  let name = "git status"
  let programs = ["git", "tar"]
  private let material: Material
  private var said = ""

  init(_ material: Material) { self.material = material }

  static func prepare(_ place: Workplace, _ material: Material) throws {
    let repository = try material.repository()
    try place.ensure("src", from: material.tree().archive)
    guard !place.has("src/.git") else { return }
    try Shell.output("tar", "-C", place.path("src"), "-xf", repository.archive)
    // The index has the numbers of other files.
    try Git.run(place.path("src"), "status", "--porcelain")
    try place.sync()
  }

  func prepare(_ place: Workplace) throws {
    try Self.prepare(place, material)
    try place.remount()
  }

  func run(_ place: Workplace) throws -> Double {
    try place.seconds { said = try Git.run(place.path("src"), "status", "--porcelain") }
  }

  func verify(_ place: Workplace) throws {
    guard said.isEmpty else { throw TestFailure("git status says \(said.prefix(400))") }
  }
}

final class GitCheckoutApplication: Application {
  let key = "git-checkout"
  let name = "git checkout, one file in eight is another one"
  let programs = ["git", "tar"]
  private let material: Material

  init(_ material: Material) { self.material = material }

  func prepare(_ place: Workplace) throws {
    try GitStatusApplication.prepare(place, material)
    try place.remount()
  }

  func run(_ place: Workplace) throws -> Double {
    let newer = try material.repository().newer
    return try place.secondsUntilDurable {
      try Git.run(place.path("src"), "checkout", "-q", newer)
    }
  }

  func verify(_ place: Workplace) throws {
    try place.expect("src", material.repository().digest, hasTimes: false, ignoring: ".git")
    let said = try Git.run(place.path("src"), "status", "--porcelain")
    guard said.isEmpty else { throw TestFailure("git status says \(said.prefix(400))") }
  }
}
