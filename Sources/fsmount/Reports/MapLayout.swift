/// Where the rows of a map stand, in CSS pixels: the more block groups, the smaller the rows, and the
/// more of them stand side by side.
struct MapLayout: Equatable {
  let groupCount: Int
  /// Rows side by side.
  let columns: Int
  let cellCount: Int
  let cellWidth: Double
  /// What shows use, and below it what shows the record of free space.
  let useHeight: Double
  let recordHeight: Double
  /// From one row to the next.
  let rowPitch: Double
  let fontSize: Double
  /// Of the texts on the left and on the right of a row.
  let leftWidth: Double
  let rightWidth: Double

  static let margin = 24.0
  /// Title, device, legend.
  static let headHeight = 150.0
  private static let columnGap = 28.0

  init(groupCount: Int) {
    self.groupCount = groupCount
    switch groupCount {
    case ...40:
      columns = 1
      (cellCount, cellWidth) = (256, 3)
      (useHeight, recordHeight, rowPitch, fontSize) = (20, 6, 34, 12)
      (leftWidth, rightWidth) = (190, 210)
    case ...160:
      columns = 2
      (cellCount, cellWidth) = (128, 3)
      (useHeight, recordHeight, rowPitch, fontSize) = (13, 4, 22, 10)
      (leftWidth, rightWidth) = (140, 120)
    default:
      // As high as wide, about.
      columns = max(3, Int((Double(groupCount) / 32).squareRoot().rounded()))
      (cellCount, cellWidth) = (64, 3.5)
      (useHeight, recordHeight, rowPitch, fontSize) = (7, 2.5, 12, 8.5)
      (leftWidth, rightWidth) = (80, 34)
    }
  }

  var plotWidth: Double { Double(cellCount) * cellWidth }

  /// Whether there is room for words beside the rows.
  var isRoomy: Bool { columns <= 2 }

  private var columnWidth: Double { leftWidth + plotWidth + rightWidth }

  private var rowsPerColumn: Int { max(1, (groupCount + columns - 1) / columns) }

  var width: Double {
    let used = max(1, min(columns, (groupCount + rowsPerColumn - 1) / rowsPerColumn))
    return 2 * Self.margin + Double(used) * columnWidth + Double(used - 1) * Self.columnGap
  }

  var height: Double { Self.headHeight + Double(rowsPerColumn) * rowPitch + Self.margin }

  /// The upper left corner of a group's cells.
  func origin(of index: Int) -> (x: Double, y: Double) {
    let column = index / rowsPerColumn
    let x = Self.margin + Double(column) * (columnWidth + Self.columnGap) + leftWidth
    return (x, Self.headHeight + Double(index % rowsPerColumn) * rowPitch)
  }
}
