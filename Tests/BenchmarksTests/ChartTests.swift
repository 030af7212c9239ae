import TestSupport
import Testing

@testable import benchmarks

@Suite(.timeLimit(.minutes(1))) struct ChartTests {
  /// With so many rows of made-up figures, far apart or close, some of them missing.
  private func reports(_ sizes: [Int], spread: Double) -> [BenchReport] {
    var random = SeededRandom(testSeed: 3)
    return sizes.enumerated().map { number, size in
      let rows = (0..<size).map { index in
        let peers = BenchPeer.allCases.filter { $0 == .kernel || !random.oneIn(5) }
        return ReportFixture.row(
          "row \(index) " + String(repeating: "x", count: random.below(50)), "ops/s",
          peers.map { peer in
            let figure =
              peer == .kernel ? 1000 : 1000 / spread + Double(random.below(1000)) * spread
            return (peer, [figure])
          })
      }
      return ReportFixture.report(rows, command: "command \(number)")
    }
  }

  @Test(arguments: [[0], [1], [13], [40], [3, 16], [16, 14, 2]], [1.0, 20, 1000])
  func nothingOverlaps(_ sizes: [Int], _ spread: Double) {
    let layout = ChartLayout(reports(sizes, spread: spread))
    let page = ChartLayout.Box(x: 0, y: 0, width: layout.width, height: layout.height)
    func isInside(_ box: ChartLayout.Box) -> Bool {
      box.x >= ChartLayout.margin / 2 && box.right <= page.right - ChartLayout.margin / 2
        && box.y >= 0 && box.bottom <= page.bottom
    }
    for (index, text) in layout.texts.enumerated() {
      #expect(isInside(text.box), "\(text.text) is outside")
      for other in layout.texts[(index + 1)...] where text.box.overlaps(other.box) {
        Issue.record("'\(text.text)' lies over '\(other.text)'")
      }
      for bar in layout.bars + layout.keys where text.box.overlaps(bar.box) {
        Issue.record("'\(text.text)' lies over a bar")
      }
    }
    for (index, bar) in layout.bars.enumerated() {
      #expect(isInside(bar.box))
      #expect(bar.box.width > 0)
      for other in layout.bars[(index + 1)...] where bar.box.overlaps(other.box) {
        Issue.record("two bars overlap")
      }
    }
    // A bar for each figure but the kernel's, and the means.
    let rows = reports(sizes, spread: spread).flatMap(\.rows)
    let figures = rows.reduce(0) { $0 + $1.results.count - 1 }
    #expect(layout.bars.count >= figures)
  }

  /// What is faster goes to the right of 1, and twice as far for the square.
  @Test func barsAreLogarithmic() throws {
    let layout = ChartLayout([
      ReportFixture.report([
        ReportFixture.row(
          "a", "ops/s", [(.fsmount, [400]), (.fuse2fs, [50]), (.ntfs3g, [25]), (.kernel, [100])])
      ])
    ])
    let base = layout.base.x
    let (ours, half, quarter) = (layout.bars[0].box, layout.bars[1].box, layout.bars[2].box)
    #expect(ours.x == base)
    #expect(abs(half.right - base) < 0.01 && abs(quarter.right - base) < 0.01)
    #expect(abs(quarter.width - 2 * half.width) < 0.01)
    #expect(abs(ours.width - quarter.width) < 0.01)
  }

  @Test func scales() {
    #expect(ChartScale([]).ticks == [0.5, 1, 2])
    #expect(ChartScale([0.9, 1.1]).ticks == [0.5, 1, 2])
    #expect(ChartScale([0.04, 6]).ticks == [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10])
    #expect(ChartScale([1e-9, 1e9]).ticks.count == 18)
    #expect(ChartScale([0.5, 2]).share(of: 1) == 0.5)
    #expect(ChartScale([0.5, 2]).share(of: 100) == 1)
  }

  @Test(arguments: [
    (0.0834, "0.083"), (0.0996, "0.10"), (0.834, "0.83"), (0.996, "1.0"), (8.34, "8.3"),
    (9.96, "10"), (83.4, "83"), (834, "834"),
  ])
  func figures(_ ratio: Double, _ text: String) {
    #expect(ChartLayout.figure(ratio) == text)
  }

  /// Every element is closed, and no text ends one.
  @Test func isWellFormed() {
    var rows = reports([4], spread: 5)[0].rows
    rows[0].name = "a < b & \"c\" > d"
    let text = ChartSVG(ChartLayout([ReportFixture.report(rows)])).text
    #expect(text.hasPrefix("<svg ") && text.hasSuffix("</svg>\n"))
    #expect(text.contains("a &lt; b &amp; &quot;c&quot; &gt; d"))
    var open: [Substring] = []
    for part in text.split(separator: "<").map({ $0.prefix { $0 != ">" } }) {
      if part.hasPrefix("/") {
        #expect(open.popLast() == part.dropFirst())
      } else if !part.hasSuffix("/") {
        open.append(part.prefix { $0 != " " })
      }
    }
    #expect(open.isEmpty)
  }
}
