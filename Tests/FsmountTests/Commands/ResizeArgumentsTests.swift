import Testing

@testable import fsmount

@Suite(.timeLimit(.minutes(1))) struct ResizeArgumentsTests {
  private func resize(_ arguments: String...) throws -> ResizeCommand? {
    try Main.command(["resize"] + arguments) as? ResizeCommand
  }

  @Test func amounts() throws {
    let cases: [(String, ResizeCall.Change, UInt64?)] = [
      ("3G", .to, 3 << 30), ("+512M", .grow, 512 << 20), ("-1.5G", .shrink, 3 << 29),
      ("max", .max, nil), ("4096", .to, 4096),
    ]
    for (text, change, bytes) in cases {
      let command = try #require(try resize(text, "/mnt"))
      #expect(command.amount.change == change && command.amount.bytes == bytes, "\(text)")
      #expect(command.path == "/mnt")
    }
    for nonsense in ["", "+", "-", "lots", "+-1G", "max1", "--1"] {
      #expect(ResizeAmount(argument: nonsense) == nil, "\(nonsense)")
    }
  }
}
