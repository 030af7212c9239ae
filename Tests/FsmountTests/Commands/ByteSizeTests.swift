import Testing

@testable import fsmount

@Suite(.timeLimit(.minutes(2))) struct ByteSizeTests {
  @Test(
    arguments: [
      ("0", 0), ("4096", 4096), ("64K", 65536), ("64k", 65536), ("1.5G", 1_610_612_736),
      ("16TiB", 17_592_186_044_416), ("3MB", 3_145_728), ("0.1k", 102), ("12b", 12),
      ("15E", 15 << 60),
    ] as [(String, UInt64)])
  func reads(_ text: String, _ bytes: UInt64) {
    #expect(ByteSize(argument: text)?.bytes == bytes)
  }

  @Test(arguments: [
    "", "K", "-1", "+1", "1.5", "1..5G", "1.G", ".5G", "16E", "0x10", "5X", "ib", "1ib", "1 G",
    "99999999999999999999",
  ])
  func refuses(_ text: String) {
    #expect(ByteSize(argument: text) == nil)
  }

  @Test(arguments: [(0, "0"), (1000, "1000"), (1024, "1K"), (3 << 29, "1536M"), (1 << 40, "1T")])
  func shows(_ bytes: UInt64, _ text: String) {
    #expect(ByteSize(bytes: bytes).description == text)
    #expect(ByteSize(argument: text)?.bytes == bytes)
  }
}
