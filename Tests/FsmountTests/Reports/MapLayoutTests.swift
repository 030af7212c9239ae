import Testing

@testable import fsmount

@Suite(.timeLimit(.minutes(1))) struct MapLayoutTests {
  /// No row lies over another one or outside the picture, whatever the number of groups.
  @Test(arguments: [0, 1, 5, 40, 41, 79, 160, 161, 162, 999, 1000, 16_384])
  func rowsAreApart(_ count: Int) {
    let layout = MapLayout(groupCount: count)
    var places: Set<String> = []
    for index in 0..<count {
      let (x, y) = layout.origin(of: index)
      #expect(places.insert("\(x) \(y)").inserted)
      #expect(x - layout.leftWidth >= MapLayout.margin)
      #expect(x + layout.plotWidth + layout.rightWidth <= layout.width - MapLayout.margin + 0.01)
      #expect(y >= MapLayout.headHeight)
      #expect(y + layout.rowPitch <= layout.height - MapLayout.margin + 0.01)
    }
    #expect(layout.useHeight + layout.recordHeight < layout.rowPitch)
  }
}
