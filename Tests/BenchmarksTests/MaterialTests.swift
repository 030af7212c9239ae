import Glibc
import TestSupport
import Testing

@testable import benchmarks

@Suite(.timeLimit(.minutes(2))) struct MaterialTests {
  @Test func treesAreAlwaysTheSame() {
    let (first, second) = (SourceTree(fileCount: 700), SourceTree(fileCount: 700))
    #expect(first.files == second.files && first.directories == second.directories)
    #expect(SourceTree(fileCount: 700, seed: 1).files != first.files)
  }

  /// As large, and as deep, as the source of a large program.
  @Test func treesLookLikeSource() {
    let tree = SourceTree(fileCount: 20_000)
    #expect(tree.files.count == 20_000)
    let paths = tree.files.map(\.path) + tree.directories + tree.links.map(\.path)
    #expect(Set(paths).count == paths.count)
    let depths = paths.map { $0.split(separator: "/").count }
    #expect((5...(SourceTree.mostDeep + 1)).contains(depths.max() ?? 0))
    let sizes = tree.files.map { Double($0.size) }
    #expect((3000...4000).contains(sizes.median ?? 0))
    #expect((100_000_000...200_000_000).contains(tree.totalBytes))
    #expect(tree.files.contains { $0.size > 100_000 })
    #expect(tree.files.count { $0.isExecutable } > 200)
  }

  /// Any change is seen: a byte, a mode, a name, a link's target, and a time if it counts.
  @Test func digestsSeeChanges() throws {
    let directory = try TemporaryDirectory()
    let root = try directory.directory("tree")
    try SourceTree(fileCount: 500).write(below: BytePath(root))
    let file = SourceTree(fileCount: 500).files[7]
    let path = "\(root)/\(file.path)"
    func digest(hasTimes: Bool = false) throws -> TreeDigest {
      try TreeDigest(BytePath(root), hasTimes: hasTimes)
    }
    let (before, timed) = (try digest(), try digest(hasTimes: true))
    #expect(before.fileCount == 500)
    #expect(try digest() == before)

    let content = try readFile(BytePath(path))
    var changed = content
    changed[changed.count - 1] ^= 1
    try writeFile(BytePath(path), changed)
    #expect(try digest() != before)
    try writeFile(BytePath(path), content)
    #expect(try digest() == before)

    chmod(path, 0o600)
    #expect(try digest() != before)
    chmod(path, file.isExecutable ? 0o755 : 0o644)
    rename(path, path + "x")
    #expect(try digest() != before)
    rename(path + "x", path)
    #expect(try digest() == before)

    var times = [timespec(tv_sec: 1000, tv_nsec: 0), timespec(tv_sec: 1000, tv_nsec: 0)]
    utimensat(AT_FDCWD, path, &times, 0)
    #expect(try digest() == before)
    #expect(try digest(hasTimes: true) != timed)

    let link = "\(root)/\(SourceTree(fileCount: 500).links[0].path)"
    unlink(link)
    symlink("elsewhere", link)
    #expect(try digest() != before)
  }

  @Test func nextVersionsDiffer() throws {
    let directory = try TemporaryDirectory()
    let tree = SourceTree(fileCount: 500)
    try tree.write(below: BytePath(directory.path))
    let before = try TreeDigest(BytePath(directory.path), hasTimes: false)
    try tree.writeNextVersion(below: BytePath(directory.path))
    let after = try TreeDigest(BytePath(directory.path), hasTimes: false)
    #expect(before != after)
    #expect(after.fileCount == 500)
  }

  /// The program prints what the project says that it does.
  @Test(.enabled(if: Shell.find("gcc") != nil, "SKIPPED: needs gcc"))
  func projectsAreBuilt() throws {
    let directory = try TemporaryDirectory()
    let project = CProject(fileCount: 41)
    try project.write(below: BytePath(directory.path))
    try Shell.output("make", "-s", "-j2", "-C", directory.path)
    #expect(try Shell.output("\(directory.path)/program") == "\(project.result)\n")
  }
}
