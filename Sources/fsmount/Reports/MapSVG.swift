import FSCore

/// A map of an image as an SVG, written piece by piece: `head`, a `row` for each block group, `tail`.
/// The colours are from the palette of Okabe and Ito, which most people with a weakness for some
/// colours tell apart; in dark surroundings they are lighter.
struct MapSVG {
  let heading: MapHeading
  let layout: MapLayout

  init(_ heading: MapHeading) {
    self.heading = heading
    layout = MapLayout(groupCount: heading.groupCount)
  }

  // The head.

  var head: String {
    let width = Self.number(layout.width)
    let height = Self.number(layout.height)
    return """
      <svg xmlns="http://www.w3.org/2000/svg" width="\(width)" height="\(height)" \
      viewBox="0 0 \(width) \(height)" role="img">
      <title>\(Self.escaped(heading.title)): what stands where</title>
      <style>\(Self.style)</style>
      <rect class="page" width="100%" height="100%"/>

      """ + title + device + legend
  }

  private static let style = """

    text{font-family:"DejaVu Sans",Verdana,system-ui,sans-serif;fill:#1b1d20}
    .page{fill:#fff}.dim{fill:#5c6168}.free{fill:#e6e8eb}.track{fill:#f3f4f6}
    .data{fill:#0072b2}.meta{fill:#e69f00}.sys{fill:#cc79a7}.kept{fill:#5c6168}
    .ext{fill:#009e73}.map{fill:#d55e00}.bad{fill:#b00020;font-weight:bold}
    .edge{fill:none;stroke:#9aa0a6;stroke-width:.6}
    @media (prefers-color-scheme:dark){
    text{fill:#e8eaed}
    .page{fill:#15171a}.dim{fill:#a4abb3}.free{fill:#2f343a}.track{fill:#202429}
    .data{fill:#56b4e9}.meta{fill:#f2b134}.sys{fill:#dd9bc0}.kept{fill:#9aa0a6}
    .ext{fill:#25c797}.map{fill:#f5803e}.bad{fill:#ff8a8a}
    .edge{stroke:#5f666e}
    }

    """

  private var title: String {
    let x = Self.number(MapLayout.margin)
    return """
      <text x="\(x)" y="38" font-size="20" font-weight="bold">\(Self.escaped(heading.title))</text>
      <text class="dim" x="\(x)" y="58" font-size="12">\(Self.escaped(heading.subtitle))</text>

      """
  }

  /// The device as one bar, with each stripe where it stands.
  private var device: String {
    let width = layout.width - 2 * MapLayout.margin
    let size = Double(max(heading.deviceSize, 1))
    var text = Self.rectangle("free", MapLayout.margin, 70, width, 16)
    for part in heading.joinedStripes(moreThan: UInt64(4 / width * size)) {
      let x = MapLayout.margin + min(Double(part.offset) / size, 1) * width
      let end =
        MapLayout.margin + min(Double(part.offset) / size + Double(part.length) / size, 1) * width
      // A thin line of what is below stays between neighbours.
      let visible = max(end - x - (end - x > 4 ? 0.6 : 0), 0.4)
      text += Self.rectangle(Self.colour(of: part.flags), x, 70, visible, 16)
    }
    return text + Self.rectangle("edge", MapLayout.margin, 70, width, 16)
  }

  private var legend: String {
    var entries = [
      ("data", "data"), ("meta", "metadata"), ("sys", "system"), ("kept", "superblock copies"),
      ("free", "free, or in no block group"),
    ]
    if heading.record != .none {
      entries += [("ext", "free, listed as extents"), ("map", "free, in bitmaps")]
    }
    var text = ""
    var (x, y) = (MapLayout.margin, 102.0)
    for (colour, name) in entries {
      let width = 18 + 7.2 * Double(name.count) + 18
      if x + width > layout.width - MapLayout.margin, x > MapLayout.margin {
        (x, y) = (MapLayout.margin, y + 17)
      }
      text += Self.rectangle(colour, x, y, 12, 12)
      text += Self.text(name, x + 17, y + 10.5, size: 12)
      x += width
    }
    return text
  }

  // The rows.

  func row(_ picture: GroupPicture, index: Int) -> String {
    let (x, y) = layout.origin(of: index)
    let base = y + layout.useHeight
    let colour = Self.colour(of: picture.flags)
    var text = Self.rectangle("free", x, y, layout.plotWidth, layout.useHeight)

    // From the base upwards: what each is stacked on comes first.
    let shares = picture.cells.map { cell in
      [cell.kept, cell.blocks, cell.data].map { share($0, of: cell.bytes) }
    }
    let classes = ["kept", picture.flags.contains(.system) ? "sys" : "meta", "data"]
    for kind in 0..<classes.count {
      text += bars(classes[kind], x, layout.useHeight) { index in
        let below = shares[index][..<kind].reduce(0, +)
        return (base - min(below, 1) * layout.useHeight, shares[index][kind])
      }
    }

    let listed = picture.cells.map { cell in
      [cell.inExtents, cell.inBitmaps].map { share($0, of: cell.bytes) }
    }
    let bottom = base + 1 + layout.recordHeight
    if picture.verdict != .absent {
      text += Self.rectangle("track", x, base + 1, layout.plotWidth, layout.recordHeight)
    }
    let least = max(1, layout.recordHeight / 3)
    text += bars("ext", x, layout.recordHeight, least: least) { (bottom, listed[$0][0]) }
    text += bars("map", x, layout.recordHeight, least: least) { index in
      (bottom - min(listed[index][0], 1) * layout.recordHeight, listed[index][1])
    }
    return text + labels(picture, x, y, colour)
  }

  private func share(_ part: UInt64, of whole: UInt64) -> Double {
    whole > 0 ? Double(min(part, whole)) / Double(whole) : 0
  }

  /// Bars of one colour, each cell's from a base upwards; neighbours that are alike are one.
  private func bars(
    _ colour: String, _ x: Double, _ height: Double, least: Double = 1,
    _ bar: (Int) -> (base: Double, share: Double)
  ) -> String {
    var path = ""
    var first = 0
    func measure(_ index: Int) -> (String, String)? {
      let (base, share) = bar(index)
      guard share > 0 else { return nil }
      // What is not empty never looks empty.
      let top = base - max(share * height, min(least, height / 2))
      return (Self.number(base), Self.number(top))
    }
    while first < layout.cellCount {
      guard let (base, top) = measure(first) else {
        first += 1
        continue
      }
      var end = first + 1
      while end < layout.cellCount, let next = measure(end), next == (base, top) { end += 1 }
      let left = x + Double(first) * layout.cellWidth
      let right = x + Double(end) * layout.cellWidth
      path += "M\(Self.number(left)) \(base)V\(top)H\(Self.number(right))V\(base)z"
      first = end
    }
    return path.isEmpty ? "" : "<path class=\"\(colour)\" d=\"\(path)\"/>\n"
  }

  private func labels(
    _ picture: GroupPicture, _ x: Double, _ y: Double, _ colour: String
  ) -> String {
    let size = layout.fontSize
    let baseline = y + layout.useHeight / 2 + size * 0.36
    let percent =
      picture.length > 0 ? Double(picture.used) / Double(picture.length) * 100 : 0
    let right = x + layout.plotWidth + size * 0.7
    let share = DurationText.fixed(percent, layout.isRoomy ? 1 : 0) + "%"
    let flags = picture.flags
    let address = ByteCount.text(picture.start.rawValue)
    var text = Self.rectangle(
      colour, x - layout.leftWidth, baseline - size * 0.75, size * 0.75, size * 0.75)
    let name =
      layout.isRoomy
      ? "\(flags.typeName) \(flags.profileName), \(ByteCount.text(picture.length))" : address
    text += Self.text(name, x - layout.leftWidth + size * 1.1, baseline, size: size)
    let isSuspect = picture.verdict == .stale || picture.verdict == .wrong
    text += Self.text(share, right, baseline, size: size, isSuspect ? "bad" : "")
    guard layout.isRoomy else { return text }

    let below = y + layout.useHeight + layout.recordHeight
    let small = size * 0.82
    text += Self.text(
      "at \(address)", x - layout.leftWidth + size * 1.1, below + small * 0.3, size: small, "dim")
    text += Self.text(
      picture.recordText, right, below + small * 0.3, size: small, isSuspect ? "bad" : "dim")
    return text
  }

  var tail: String { "</svg>\n" }

  // Elements.

  static func colour(of flags: BlockGroupFlags) -> String {
    if flags.contains(.system) { return "sys" }
    return flags.contains(.data) ? "data" : "meta"
  }

  private static func rectangle(
    _ colour: String, _ x: Double, _ y: Double, _ width: Double, _ height: Double
  ) -> String {
    "<rect class=\"\(colour)\" x=\"\(number(x))\" y=\"\(number(y))\" width=\"\(number(width))\" "
      + "height=\"\(number(height))\"/>\n"
  }

  private static func text(
    _ text: String, _ x: Double, _ y: Double, size: Double, _ colour: String = ""
  ) -> String {
    let attribute = colour.isEmpty ? "" : " class=\"\(colour)\""
    return "<text\(attribute) x=\"\(number(x))\" y=\"\(number(y))\" "
      + "font-size=\"\(number(size))\">\(escaped(text))</text>\n"
  }

  /// At most two digits behind the point.
  private static func number(_ value: Double) -> String {
    var text = DurationText.fixed(value, 2)
    while text.last == "0" { text.removeLast() }
    if text.last == "." { text.removeLast() }
    return text
  }

  private static func escaped(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&quot;"
      // XML has no way to write these.
      case _ where scalar.value < 0x20 && scalar != "\t": result += "\u{fffd}"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
