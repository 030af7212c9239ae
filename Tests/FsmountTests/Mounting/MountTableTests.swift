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
    #expect(entry.user == nil)
  }

  /// FUSE says who has mounted it.
  @Test func user() throws {
    func user(_ options: String) throws -> UInt32? {
      let line = "42 27 0:47 / /m rw,nosuid shared:5 - fuse.fsmount /a \(options)"
      return try #require(MountTableEntry(line: line[...])).user
    }
    #expect(try user("rw,user_id=1000,group_id=7,allow_other") == 1000)
    #expect(try user("rw,user_id=0,group_id=0") == 0)
    #expect(try user("rw,group_id=0") == nil)
    #expect(try user("rw,user_id=x") == nil)
    #expect(try user("") == nil)
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
