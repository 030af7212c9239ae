import Testing

@testable import fsmount

/// What fits in a window of a given size.
@Suite(.timeLimit(.minutes(1))) struct ScreenSizeTests {
  @Test(arguments: [(80, "12345"), (6, "12345"), (5, "1234"), (2, "1"), (1, ""), (0, "")])
  func lines(columns: Int, expected: String) {
    #expect(ScreenSize(columns: columns, rows: 24).fit("12345") == expected)
  }

  /// Escape sequences take no room, and a colour that is cut off ends.
  @Test func colours() {
    let line = "\u{1b}[1mname\u{1b}[0m text"
    #expect(ScreenSize(columns: 10, rows: 24).fit(line) == line)
    #expect(ScreenSize(columns: 6, rows: 24).fit(line) == "\u{1b}[1mname\u{1b}[0m \u{1b}[0m")
    #expect(ScreenSize(columns: 3, rows: 24).fit(line) == "\u{1b}[1mna\u{1b}[0m")
  }

  @Test func wideCharacters() {
    #expect(ScreenSize(columns: 5, rows: 24).fit("日本語") == "日本")
    #expect(ScreenSize(columns: 6, rows: 24).fit("a日本語") == "a日本")
    #expect(ScreenSize(columns: 5, rows: 24).fit("a日本語") == "a日")
  }

  @Test func pages() {
    let lines = (1...59).map { "line \($0)" }
    let page = ScreenSize(columns: 80, rows: 24).fit(lines)
    #expect(page.count == 23 && page[0] == "line 1" && page[21] == "line 22")
    #expect(page[22] == "(37 more lines: make the window taller)")
    #expect(ScreenSize(columns: 80, rows: 60).fit(lines) == lines)
    #expect(
      ScreenSize(columns: 80, rows: 59).fit(lines).last == "(2 more lines: make the window taller)")
    #expect(ScreenSize(columns: 80, rows: 1).fit(lines).count == 1)
    #expect(ScreenSize(columns: 80, rows: 24).fit([String]()) == [])
    let long = [String(repeating: "x", count: 200)]
    #expect(ScreenSize(columns: 80, rows: 24).fit(long)[0].count == 79)
  }

  /// A report of any length leaves the window's top where it is.
  @Test func everyHeight() {
    for rows in 0...70 {
      for count in [0, 1, 22, 23, 24, 59] {
        let lines = (0..<count).map { "line \($0)" }
        let page = ScreenSize(columns: 80, rows: rows).fit(lines)
        #expect(page.count <= max(rows - 1, 1) && page.isEmpty == lines.isEmpty)
      }
    }
  }
}
