import Glibc

/// A chart as SVG, which is readable in light and in dark surroundings. The colours are from the palette
/// of Okabe and Ito, which most people with a weakness for some colours tell apart.
struct ChartSVG {
  private let layout: ChartLayout

  init(_ layout: ChartLayout) { self.layout = layout }

  var text: String {
    let (width, height) = (Self.number(layout.width), Self.number(layout.height))
    var text = """
      <svg xmlns="http://www.w3.org/2000/svg" width="\(width)" height="\(height)" \
      viewBox="0 0 \(width) \(height)" role="img">
      <title>Speed as a multiple of kernel btrfs</title>
      <style>\(Self.style)</style>
      <rect class="page" width="100%" height="100%"/>

      """
    for band in layout.bands { text += Self.rectangle("band", band) }
    for line in layout.grid { text += Self.line("grid", line) }
    for bar in layout.bars + layout.keys {
      text += Self.rectangle(colour(of: bar.subject), bar.box)
    }
    text += Self.line("base", layout.base)
    for item in layout.texts { text += Self.text(item) }
    return text + "</svg>\n"
  }

  private static let style = """

    text{font-family:"DejaVu Sans",Verdana,system-ui,sans-serif;fill:#1b1d20}
    .title,.heading,.strong{font-weight:bold}
    .page{fill:#fff}.band{fill:#f5f6f8}.dim,.value{fill:#5c6168}
    .grid{stroke:#e1e4e8;stroke-width:1}.base{stroke:#1b1d20;stroke-width:1.2}
    .ours{fill:#0072b2}.ours2{fill:#56b4e9}.other1{fill:#e69f00}.other2{fill:#cc79a7}
    .floor{fill:#b4bac1}.more{fill:#009e73}
    @media (prefers-color-scheme:dark){
    text{fill:#e8eaed}
    .page{fill:#15171a}.band{fill:#1b1e22}.dim,.value{fill:#a4abb3}
    .grid{stroke:#2c3137}.base{stroke:#e8eaed}
    .ours{fill:#3b9fe0}.ours2{fill:#9bd4f5}.other1{fill:#f2b134}.other2{fill:#dd9bc0}
    .floor{fill:#6b737c}.more{fill:#25c797}
    }

    """

  private func colour(of subject: Int) -> String {
    switch BenchPeer(rawValue: layout.subjects[subject]) {
    case .fsmount: "ours"
    case .fsmountForAll: "ours2"
    case .fuse2fs: "other1"
    case .ntfs3g: "other2"
    case .emptyServer: "floor"
    case .kernel, nil: "more"
    }
  }

  private static func rectangle(_ colour: String, _ box: ChartLayout.Box) -> String {
    "<rect class=\"\(colour)\" x=\"\(number(box.x))\" y=\"\(number(box.y))\" "
      + "width=\"\(number(box.width))\" height=\"\(number(box.height))\" rx=\"1\"/>\n"
  }

  private static func line(_ style: String, _ box: ChartLayout.Box) -> String {
    "<path class=\"\(style)\" d=\"M\(number(box.x)) \(number(box.y))V\(number(box.bottom))\"/>\n"
  }

  private static func text(_ item: ChartLayout.Text) -> String {
    let anchor = item.anchor == .start ? "" : " text-anchor=\"\(item.anchor.rawValue)\""
    return "<text class=\"\(item.style.rawValue)\" x=\"\(number(item.x))\" "
      + "y=\"\(number(item.baseline))\" font-size=\"\(number(item.size))\"\(anchor)>"
      + "\(escaped(item.text))</text>\n"
  }

  /// At most two digits behind the point.
  private static func number(_ value: Double) -> String {
    let hundredths = Int((value * 100).rounded())
    let sign = hundredths < 0 ? "-" : ""
    let (whole, fraction) = (abs(hundredths) / 100, abs(hundredths) % 100)
    if fraction == 0 { return "\(sign)\(whole)" }
    if fraction % 10 == 0 { return "\(sign)\(whole).\(fraction / 10)" }
    return "\(sign)\(whole).\(fraction < 10 ? "0" : "")\(fraction)"
  }

  static func escaped(_ text: String) -> String {
    var result = ""
    for character in text {
      switch character {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&quot;"
      default: result.append(character)
      }
    }
    return result
  }
}
