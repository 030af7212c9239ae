import Glibc
import TestSupport

/// What applications work on, made once and outside the mounts that are measured.
final class Material {
  let fileCount: Int
  private let place: TemporaryDirectory
  private var madeTree: Tree?
  private var madeRepository: Repository?
  private var madeProject: CProject?
  private var madeCluster: String?

  init(fileCount: Int, in place: TemporaryDirectory) {
    self.fileCount = fileCount
    self.place = place
  }

  func file(_ name: String) -> String { place.file(name) }

  // The source tree.

  struct Tree {
    var archive: String
    var digest: TreeDigest
    /// What find(1) and grep(1) have to say of it.
    var headers: Int
    var large: Int
    var rareLines: Int
  }

  func tree() throws -> Tree {
    if let madeTree { return madeTree }
    let root = try place.directory("src")
    let tree = SourceTree(fileCount: fileCount)
    try tree.write(below: BytePath(root))
    let archive = file("src.tar")
    try Shell.output("tar", "-C", place.path, "-cf", archive, "--owner=0", "--group=0", "src")
    let made = Tree(
      archive: archive, digest: try TreeDigest(BytePath(root), hasTimes: true),
      headers: (tree.files.map(\.path) + tree.links.map(\.path)).count { $0.hasSuffix(".h") },
      large: tree.files.count { $0.size > FindApplication.largeBytes },
      rareLines: try GrepApplication.lines(below: root))
    madeTree = made
    return made
  }

  // A repository of it.

  struct Repository {
    /// Of `.git`, with the older version checked out.
    var archive: String
    var newer: String
    /// Of the newer version.
    var digest: TreeDigest
  }

  func repository() throws -> Repository {
    if let madeRepository { return madeRepository }
    _ = try tree()
    let root = file("src")
    try Git.run(root, "init", "-q", "-b", "main")
    try Git.run(root, "add", "-A")
    try Git.run(root, "commit", "-q", "-m", "older")
    try SourceTree(fileCount: fileCount).writeNextVersion(below: BytePath(root))
    try Git.run(root, "add", "-A")
    try Git.run(root, "commit", "-q", "-m", "newer")
    let digest = try TreeDigest(BytePath(root), hasTimes: false, ignoring: ".git")
    let newer = try Git.run(root, "rev-parse", "HEAD").filter { !$0.isWhitespace }
    // One pack, as after a clone; to look for similar files would take minutes.
    try Git.run(root, "repack", "-a", "-d", "-q", "--window=0")
    try Git.run(root, "checkout", "-q", "HEAD~1")
    let archive = file("git.tar")
    try Shell.output("tar", "-C", root, "-cf", archive, "--owner=0", "--group=0", ".git")
    let made = Repository(archive: archive, newer: newer, digest: digest)
    madeRepository = made
    return made
  }

  // A project to build, and a database cluster.

  func project() throws -> CProject {
    if let madeProject { return madeProject }
    let project = CProject(fileCount: max(fileCount / 100, 20))
    let root = try place.directory("project")
    try project.write(below: BytePath(root))
    try Shell.output(
      "tar", "-C", place.path, "-cf", file("project.tar"), "--owner=0", "--group=0", "project")
    madeProject = project
    return project
  }

  /// The archive of a cluster with pgbench's tables.
  func cluster() throws -> String {
    if let madeCluster { return madeCluster }
    let archive = file("cluster.tar")
    let postgres = Postgres(data: file("cluster"), scratch: try place.directory("socket"))
    try postgres.initialize()
    try Shell.output("tar", "-C", place.path, "-cf", archive, "cluster")
    madeCluster = archive
    return archive
  }
}

/// git with a configuration of its own, whoever runs it.
enum Git {
  @discardableResult
  static func run(_ directory: String, _ arguments: String...) throws -> String {
    let settings = [
      "user.name=bench", "user.email=bench@example.org", "gc.auto=0", "safe.directory=*",
      "advice.detachedHead=false", "core.compression=1",
    ]
    return try Shell.output(
      [try Programs.required("git"), "-C", directory] + settings.flatMap { ["-c", $0] } + arguments,
      environment: ["GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"])
  }
}
