import Glibc

/// What the reader's screen can show.
struct TextStyle: Sendable {
  enum Color: String {
    case red = "31"
    case green = "32"
    case yellow = "33"
    case magenta = "35"
    case cyan = "36"
    case dim = "2"
    case bold = "1"
  }

  var hasColor: Bool
  var hasUnicode: Bool

  static let plain = TextStyle(hasColor: false, hasUnicode: false)

  /// Colour only on a terminal that knows it; block characters unless the locale is without
  /// UTF-8.
  static func ofStandardOutput() -> TextStyle {
    let isTerminal = isatty(STDOUT_FILENO) == 1
    let isDumb = environment("TERM") == "dumb" || !environment("NO_COLOR").isEmpty
    let locales = ["LC_ALL", "LC_CTYPE", "LANG"].map(environment)
    let locale = (locales.first { !$0.isEmpty } ?? "").lowercased()
    let hasUnicode = locale.contains("utf-8") || locale.contains("utf8")
    return TextStyle(hasColor: isTerminal && !isDumb, hasUnicode: hasUnicode)
  }

  private static func environment(_ name: String) -> String {
    getenv(name).map { String(cString: $0) } ?? ""
  }

  func paint(_ text: String, _ color: Color?) -> String {
    guard hasColor, let color, !text.isEmpty else { return text }
    return "\u{1b}[\(color.rawValue)m\(text)\u{1b}[0m"
  }

  /// `part` of `whole` as a bar of `width` characters. What is not empty never looks empty, and
  /// what is not full never looks full.
  func bar(_ part: UInt64, of whole: UInt64, width: Int) -> String {
    guard whole > 0 else { return String(repeating: " ", count: width) }
    // Eighths of a character, where the screen has them.
    let steps = hasUnicode ? 8 : 1
    let all = width * steps
    let exact = Double(min(part, whole)) / Double(whole) * Double(all)
    var filled = Int(exact.rounded())
    if part > 0 { filled = max(filled, 1) }
    if part < whole { filled = min(filled, all - 1) }

    guard hasUnicode else {
      return String(repeating: "#", count: filled) + String(repeating: ".", count: width - filled)
    }
    let partial: [Character] = ["▏", "▎", "▍", "▌", "▋", "▊", "▉"]
    var text = String(repeating: "█", count: filled / 8)
    if filled % 8 > 0 { text.append(partial[filled % 8 - 1]) }
    return text + String(repeating: "░", count: width - text.count)
  }
}
