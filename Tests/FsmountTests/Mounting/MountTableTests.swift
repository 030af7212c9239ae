import Testing

@testable import fsmount

@Suite(.timeLimit(.minutes(2))) struct MountTableTests {
  @Test func line() throws {
    let entry = try #require(
      MountTableEntry(
        line: #"42 27 0:47 / /m\040n rw,nosuid shared:5 master:1 - fuse.fsmount /a\134b\054 rw"#))
    #expect(entry.device == "0:47")
    #expect(entry.mountPoint == "/m n")
    #expect(entry.type == "fuse.fsmount")
    #expect(entry.source == #"/a\b,"#)
    #expect(entry.isOurs)
  }

  @Test(arguments: ["", "a b c", "1 2 3 4 5 6 7 8 9", "1 2 3 4 5 6 7 8 -"])
  func noLine(_ text: String) {
    #expect(MountTableEntry(line: text[...]) == nil)
  }

  @Test func ownTable() {
    #expect(MountTable.entry(at: "/proc")?.type == "proc")
  }

  @Test func paths() {
    #expect(AbsolutePath.resolve("/usr/../proc/") == "/proc")
    #expect(AbsolutePath.resolve("/nowhere") == nil)
    #expect(AbsolutePath.resolveParent("/usr/../nowhere//") == "/nowhere")
    #expect(AbsolutePath.resolveParent("/proc/..") == "/")
    #expect(AbsolutePath.resolveParent("nowhere")?.hasSuffix("/nowhere") == true)
  }
}
