import FSCore

/// A coarse map of an image on a terminal. Each cell is a character, the fuller the more is used; a
/// line has one block group, or several where there are many.
struct MapText {
  let heading: MapHeading
  let style: TextStyle
  /// Characters of a line.
  let width: Int

  /// Above this many groups, several share a line.
  private static let mostLines = 100
  private static let labelWidth = 34
  private static let rightWidth = 30
  private static let cellsOfSmall = 8

  private var isDense: Bool { heading.groupCount > Self.mostLines }

  private var groupsPerLine: Int {
    max(1, (width - 12) / (Self.cellsOfSmall + 1))
  }

  var cellCount: Int {
    isDense ? Self.cellsOfSmall : max(16, min(width - Self.labelWidth - Self.rightWidth, 128))
  }

  var head: [String] {
    let names = [("data", "data"), ("metadata", "metadata"), ("system", "system")]
    let legend = names.map { style.paint($0.1, Self.colour(ofName: $0.0)) }
      .joined(separator: "  ")
    return [style.paint(heading.title, .bold), heading.subtitle, legend, ""]
  }

  /// The lines that are complete once this group is there.
  mutating func add(_ picture: GroupPicture) -> [String] {
    let cells = cells(of: picture)
    guard isDense else { return [line(picture, cells)] }
    if line.count == 0 { line.label = ByteCount.text(picture.start.rawValue).padded(to: 12) }
    line.text += cells + " "
    line.count += 1
    return line.count == groupsPerLine ? finish() : []
  }

  /// What is left.
  mutating func finish() -> [String] {
    guard line.count > 0 else { return [] }
    defer { line = Line() }
    return [style.paint(line.label, .dim) + line.text]
  }

  private struct Line {
    var label = ""
    var text = ""
    var count = 0
  }

  private var line = Line()

  init(_ heading: MapHeading, style: TextStyle, width: Int) {
    self.heading = heading
    self.style = style
    self.width = width
  }

  private func line(_ picture: GroupPicture, _ cells: String) -> String {
    let flags = picture.flags
    let name = "\(flags.typeName) \(flags.profileName)".padded(to: 16)
    let label = "\(name) \(ByteCount.text(picture.start.rawValue))".padded(to: Self.labelWidth - 2)
    let percent = picture.length > 0 ? Double(picture.used) / Double(picture.length) * 100 : 0
    let isSuspect = picture.verdict == .stale || picture.verdict == .wrong
    let share = " " + DurationText.fixed(percent, 1) + "%"
    let right = share + "  " + style.paint(picture.recordText, isSuspect ? .red : .dim)
    let edge = style.hasUnicode ? "▏" : "|"
    return label + style.paint(edge, .dim) + cells + style.paint(edge, .dim) + right
  }

  /// A group's cells, those of one colour painted together.
  private func cells(of picture: GroupPicture) -> String {
    var text = ""
    var run = ""
    var runColour: TextStyle.Color?
    for cell in picture.cells {
      let colour = colour(of: cell, picture.flags)
      if colour != runColour {
        text += style.paint(run, runColour)
        (run, runColour) = ("", colour)
      }
      run.append(character(for: cell))
    }
    return text + style.paint(run, runColour)
  }

  private func character(for cell: GroupPicture.Cell) -> Character {
    let levels = style.hasUnicode ? Self.blocks : Self.signs
    guard cell.used > 0, cell.bytes > 0 else { return style.hasUnicode ? "·" : "." }
    let share = Double(min(cell.used, cell.bytes)) / Double(cell.bytes)
    // What is not full never looks full.
    let level = cell.used < cell.bytes ? min(Int(share * 8), 7) : 8
    return levels[max(level - 1, 0)]
  }

  private static let blocks: [Character] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"]
  private static let signs: [Character] = [":", "-", "=", "+", "*", "%", "@", "#"]

  private func colour(
    of cell: GroupPicture.Cell, _ flags: BlockGroupFlags
  ) -> TextStyle.Color? {
    guard cell.used > 0 else { return .dim }
    if flags.contains(.system) { return .magenta }
    return cell.blocks > cell.data ? .yellow : .cyan
  }

  private static func colour(ofName name: String) -> TextStyle.Color {
    name == "system" ? .magenta : name == "metadata" ? .yellow : .cyan
  }
}
