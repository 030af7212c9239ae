import Glibc
import TestSupport
import Testing

extension MountTests {
  /// What is renewed on a terminal stays within its window.
  @Suite(.timeLimit(.minutes(3))) struct TerminalTests {
    /// Without what sets colours.
    private static func visible(_ text: some StringProtocol) -> String {
      var shown = ""
      var isEscape = false
      for character in text {
        if isEscape || character == "\u{1b}" {
          isEscape = character != "m"
        } else {
          shown.append(character)
        }
      }
      return shown
    }

    /// The bar of a balance is one line, which is written over.
    @Test(.needsFuse, .timeLimit(.minutes(2)), arguments: [80, 40, 12, 0])
    func barIsOneLine(columns: Int) throws {
      let scratch = try Scratch()
      try scratch.make("--size", "1G")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      for number in 0..<24 { try scratch.write("f\(number)", seed: 1, length: 7 << 20) }
      try mounted.sync()
      let terminal = try PseudoTerminal(columns: columns, rows: 24)
      let program = try FsmountProgram.required()
      let (result, screen) = try terminal.run(
        [program, "balance", "start", "-d", scratch.mountPoint])
      try result.orThrow()
      // A window that does not say how wide it is has 80 columns.
      let room = (columns == 0 ? 80 : columns) - 1
      var lines = 0
      // The line feed of a terminal comes with a carriage return, which Swift has as one character.
      for part in screen.replacing("\r\n", with: "\n").split(separator: "\r") {
        guard let end = part.firstRange(of: "\u{1b}[K") else { continue }
        let line = Self.visible(part[..<end.lowerBound])
        #expect(line.count <= room && !line.contains("\n"), "\(line)")
        #expect(line.contains("%"), "\(line)")
        lines += 1
      }
      #expect(lines >= 1 && screen.contains("the balance is done"), "\(screen)")
      #expect(screen.contains(" 100%"), "\(screen)")
      try mounted.unmount()
      try scratch.expectSound()
    }

    /// The figures of a mount that are renewed begin at the window's top, and end above its bottom.
    @Test(.needsFuse, .timeLimit(.minutes(1)), arguments: [(80, 24), (40, 10), (200, 100)])
    func figuresFit(columns: Int, rows: Int) throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let terminal = try PseudoTerminal(columns: columns, rows: rows)
      let program = try FsmountProgram.required()
      let (result, screen) = try terminal.run(
        [program, "stats", "--watch", scratch.mountPoint], timeout: 20
      ) { $0.split(separator: "\u{1b}[J").count > 2 }
      try result.orThrow()
      let pages = screen.replacing("\r\n", with: "\n").split(separator: "\u{1b}[J")
        .filter { $0.hasPrefix("\u{1b}[H") }
      #expect(pages.count >= 2, "\(screen)")
      for page in pages {
        let lines = page.dropFirst(3).split(separator: "\n", omittingEmptySubsequences: false)
          .dropLast().map { Self.visible($0.replacing("\u{1b}[K", with: "")) }
        #expect(lines.count < rows && lines.allSatisfy { $0.count < columns }, "\(lines)")
        #expect(lines[0].hasPrefix(scratch.mountPoint.prefix(columns - 1)), "\(lines)")
        #expect(lines.last?.contains("more lines") == (rows < 60), "\(lines)")
      }
      try mounted.unmount()
    }
  }
}
