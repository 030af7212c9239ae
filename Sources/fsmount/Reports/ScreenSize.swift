import Glibc

/// How many columns and rows a window has, and what of a text fits in it.
struct ScreenSize: Equatable {
  let columns: Int
  let rows: Int

  /// What a window is taken for that does not say.
  static let usual = ScreenSize(columns: 80, rows: 24)

  /// Asked anew each time: a window may change.
  static func ofStandardOutput() -> ScreenSize {
    var size = winsize()
    guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 else { return usual }
    return ScreenSize(
      columns: size.ws_col > 0 ? Int(size.ws_col) : usual.columns,
      rows: size.ws_row > 0 ? Int(size.ws_row) : usual.rows)
  }

  /// The last column stays free: some terminals go to the next line when it is written.
  var usableColumns: Int { max(columns - 1, 0) }

  /// The beginning of a line, as far as it fits. Colours take no columns, and end with the line.
  func fit(_ line: String) -> String {
    var text = ""
    var used = 0
    var isEscape = false
    var hasEscapes = false
    for character in line {
      if isEscape || character == "\u{1b}" {
        isEscape = character != "m"
        hasEscapes = true
        text.append(character)
        continue
      }
      let width = Self.width(of: character)
      guard used + width <= usableColumns else { return text + (hasEscapes ? "\u{1b}[0m" : "") }
      used += width
      text.append(character)
    }
    return text
  }

  /// The first lines, as many as fit, and each as far as it fits. The last one says how many are
  /// left out. The last row stays free for the cursor.
  func fit(_ lines: [String]) -> [String] {
    let room = max(rows - 1, 1)
    guard lines.count > room else { return lines.map(fit) }
    let shown = lines.prefix(room - 1)
    let left = lines.count - shown.count
    return shown.map(fit) + [
      fit("(\(left) more line\(left == 1 ? "" : "s"): make the window taller)")
    ]
  }

  /// Columns of a character: two of those that East Asian scripts write, and of pictures.
  private static func width(of character: Character) -> Int {
    guard let scalar = character.unicodeScalars.first?.value else { return 0 }
    return wide.contains { $0.contains(scalar) } ? 2 : 1
  }

  private static let wide: [ClosedRange<UInt32>] = [
    0x1100...0x115f, 0x2e80...0xa4cf, 0xac00...0xd7a3, 0xf900...0xfaff, 0xfe30...0xfe6f,
    0xff00...0xff60, 0xffe0...0xffe6, 0x1f300...0x1faff, 0x20000...0x3fffd,
  ]
}
