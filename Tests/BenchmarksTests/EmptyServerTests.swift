import Glibc
import TestSupport
import Testing

@testable import benchmarks

private let canMount =
  access("/dev/fuse", R_OK | W_OK) == 0 && (isRoot || Shell.find("fusermount3") != nil)

/// The floor of the comparison does what it is asked: else its figures would say nothing.
@Suite(
  .timeLimit(.minutes(2)), .enabled(if: canMount, "SKIPPED: needs FUSE"),
  .enabled(if: Programs.emptyServer != nil, "SKIPPED: emptyserver is not built"))
struct EmptyServerTests {
  private let place: TemporaryDirectory

  init() throws { place = try TemporaryDirectory(inMemory: true) }

  private func mount() throws -> any MountedImage {
    try BenchPeer.emptyServer.mount(place.file("memory"), at: place.file("mount"))
  }

  /// A tree is there as it was written, also in the next mount, and can be removed.
  @Test func keepsTrees() throws {
    let source = try place.directory("source")
    let directory = try place.directory("mount")
    try SourceTree(fileCount: 600).write(below: BytePath(source))
    let wanted = try TreeDigest(BytePath(source), hasTimes: true)
    var mounted = try mount()
    defer { try? mounted.unmount() }
    try Shell.output("cp", "-a", source, "\(directory)/copy")
    #expect(try TreeDigest(BytePath("\(directory)/copy"), hasTimes: true) == wanted)

    try mounted.unmount()
    mounted = try mount()
    #expect(try TreeDigest(BytePath("\(directory)/copy"), hasTimes: true) == wanted)
    try Shell.output("mv", "\(directory)/copy", "\(directory)/moved")
    try Shell.output("rm", "-rf", "\(directory)/moved")
    #expect(try directoryNames(BytePath(directory)).isEmpty)
  }

  /// What was cut away is zero when the file grows again, and so are holes, at every size of slot.
  @Test(arguments: [100, 4096, 5000, 70_000, 2_000_000])
  func cutsAndGrows(_ size: Int) throws {
    let directory = try place.directory("mount")
    let mounted = try mount()
    defer { try? mounted.unmount() }
    let path = "\(directory)/file"
    try writeFile(BytePath(path), [UInt8](repeating: 7, count: size))
    try check("truncate") { truncate(path, size / 2) }
    try check("truncate") { truncate(path, size + 10) }
    let found = try readFile(BytePath(path))
    #expect(found.count == size + 10)
    #expect(found[..<(size / 2)].allSatisfy { $0 == 7 })
    #expect(found[(size / 2)...].allSatisfy { $0 == 0 })

    // A slot that was given back is handed out clean.
    unlink(path)
    try writeFile(BytePath(path), [1])
    try check("truncate") { truncate(path, size) }
    #expect(try readFile(BytePath(path)) == [1] + [UInt8](repeating: 0, count: size - 1))
  }

  @Test func refusesWhatCannotBe() throws {
    let directory = try place.directory("mount")
    let mounted = try mount()
    defer { try? mounted.unmount() }
    try check("mkdir") { mkdir("\(directory)/a", 0o755) }
    try writeFile(BytePath("\(directory)/a/b"), [1])
    #expect(outcome { rmdir("\(directory)/a") } == -Int(ENOTEMPTY))
    #expect(outcome { unlink("\(directory)/c") } == -Int(ENOENT))
    #expect(outcome { mkdir("\(directory)/a", 0o755) } == -Int(EEXIST))
    #expect(outcome { open("\(directory)/c", O_RDONLY) } == -Int(ENOENT))
    let name = String(repeating: "n", count: 255)
    try writeFile(BytePath("\(directory)/\(name)"), [])
    #expect(
      outcome { open("\(directory)/\(name)n", O_CREAT | O_WRONLY, 0o644) } == -Int(ENAMETOOLONG))
  }
}
