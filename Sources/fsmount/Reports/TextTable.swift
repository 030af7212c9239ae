/// Rows of cells, aligned by column.
struct TextTable {
  struct Cell {
    var text: String
    var color: TextStyle.Color?

    init(_ text: String, _ color: TextStyle.Color? = nil) {
      self.text = text
      self.color = color
    }
  }

  enum Alignment {
    case left
    case right
  }

  struct Column {
    var title: String
    var alignment: Alignment
  }

  private let columns: [Column]
  private var rows: [[Cell]] = []

  init(_ columns: [(String, Alignment)]) {
    self.columns = columns.map { Column(title: $0.0, alignment: $0.1) }
  }

  mutating func add(_ cells: [Cell]) {
    precondition(cells.count == columns.count)
    rows.append(cells)
  }

  var isEmpty: Bool { rows.isEmpty }

  /// A heading, and a line for each row. No line ends with blanks.
  func lines(_ style: TextStyle) -> [String] {
    let heading = columns.map { Cell($0.title, .dim) }
    let all = [heading] + rows
    let widths = columns.indices.map { index in
      all.reduce(0) { max($0, $1[index].text.count) }
    }
    return all.map { row in
      var line = ""
      for (index, cell) in row.enumerated() {
        let padding = String(repeating: " ", count: widths[index] - cell.text.count)
        if index > 0 { line += "  " }
        let text = style.paint(cell.text, cell.color)
        switch columns[index].alignment {
        case .left: line += index + 1 < row.count ? text + padding : text
        case .right: line += padding + text
        }
      }
      while line.last == " " { line.removeLast() }
      return line
    }
  }
}

/// Names and values, one pair a line, the values aligned.
struct TextList {
  private var pairs: [(name: String, value: String)] = []

  mutating func add(_ name: String, _ value: String) { pairs.append((name, value)) }

  func lines(_ style: TextStyle) -> [String] {
    let width = pairs.reduce(0) { max($0, $1.name.count) }
    return pairs.map { pair in
      let padding = String(repeating: " ", count: width - pair.name.count)
      return "  " + style.paint(pair.name, .dim) + padding + "  " + pair.value
    }
  }
}
