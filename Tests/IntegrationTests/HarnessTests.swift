import Glibc
import TestSupport
import Testing

/// The judges themselves: what they are shown, they must see.
@Suite(.timeLimit(.minutes(10))) struct HarnessTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  @Test func collidingNamesShareTheirHash() {
    let names = NameHash.collidingNames(stem: "name", count: 20)
    #expect(Set(names).count == 20)
    #expect(Set(names.map(NameHash.of)).count == 1)
  }

  @Test func seedsAreReproducible() {
    var one = SeededRandom(testSeed: 7)
    var other = SeededRandom(testSeed: 7)
    #expect((0..<100).map { _ in one.next() } == (0..<100).map { _ in other.next() })
  }

  @Test func snapshotSeesEachKindOfDifference() throws {
    let left = BytePath(try directory.directory("left"))
    let right = BytePath(try directory.directory("right"))
    for root in [left, right] {
      try writeFile(root.appending("file"), Array("content".utf8))
      try writeFile(root.appending("other"), [])
      try check("symlink") { root.appending("link").withCPath { symlink("there", $0) } }
    }
    #expect(try differences(left, right).isEmpty)

    try writeFile(right.appending("file"), Array("c0ntent".utf8))
    #expect(try differences(left, right).contains { $0.hasPrefix("file: content") })
    try writeFile(right.appending("file"), Array("content".utf8))

    try check("chmod") { right.appending("file").withCPath { chmod($0, 0o600) } }
    #expect(try differences(left, right).contains { $0.hasPrefix("file: mode") })
    try check("chmod") { right.appending("file").withCPath { chmod($0, 0o644) } }

    try check("link") {
      right.appending("file").withCPath { file in
        right.appending("twin").withCPath { link(file, $0) }
      }
    }
    let found = try differences(left, right)
    #expect(found.contains { $0.hasPrefix("only in right") })
    #expect(found.contains { $0.hasPrefix("file: links") })
  }

  private func differences(_ left: BytePath, _ right: BytePath) throws -> [String] {
    // Where the harness runs the order of names is any file system's own.
    try TreeSnapshot(left, sync: false).differences(
      to: TreeSnapshot(right, sync: false), names: ("left", "right")
    ).filter { !$0.contains("order of names") && !$0.hasPrefix(".: size") }
  }

  @Test func fsxSeesAWrongByte() throws {
    var options = FsxOptions(seed: TestSeed.of(3))
    options.operations = 500
    let path = directory.file("fsx")
    try FsxModel(directory: BytePath(directory.path), options: options).run()

    // A remount after which the file is not what it was.
    options.remountInterval = 100
    let damaged = try FsxModel(directory: BytePath(directory.path), options: options) {
      let size = try readFile(BytePath(path)).count
      let descriptor = open(path, O_WRONLY)
      defer { close(descriptor) }
      if size > 0 { pwrite(descriptor, "\0\u{1}\0\u{1}", 4, size / 2) }
    }
    #expect(throws: TestFailure.self) { try damaged.run() }
  }

  @Test func selfVerifyingFilesSeeDamage() {
    var bytes = [UInt8](repeating: 0, count: 5000)
    bytes.withUnsafeMutableBytes { SelfVerifyingFile.fill($0, seed: 9) }
    #expect(bytes.withUnsafeBytes { SelfVerifyingFile.defect(in: $0) } == nil)
    bytes[4321] ^= 4
    #expect(bytes.withUnsafeBytes { SelfVerifyingFile.defect(in: $0) }?.contains("4321") == true)
    bytes[4321] ^= 4
    #expect(bytes.dropLast().withUnsafeBytes { SelfVerifyingFile.defect(in: $0) } != nil)
  }

  @Test func cacheComplaintsNameTheirGroup() {
    let line = "failed to load free space cache for block group 30408704, rebuilding it now"
    #expect(blockGroup(inCacheComplaint: line) == 30_408_704)
    #expect(blockGroup(inCacheComplaint: "[3/7] checking free space cache") == nil)
  }

  @Test func aCommandThatDoesNotEndIsEnded() throws {
    let start = monotonicSeconds()
    let result = try Shell.run("sleep", "60", timeout: 0.2)
    #expect(result.status == nil)
    #expect(monotonicSeconds() - start < 20)
  }
}
