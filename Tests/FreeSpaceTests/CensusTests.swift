import TestSupport
import Testing

@testable import FreeSpace

/// The census that is taken of a whole bitmap, against one that is kept run by run.
@Suite(.timeLimit(.minutes(1))) struct CensusTests {
  private static func expectSame(_ bits: SectorBitmap, _ comment: Comment) {
    var census = RunCensus()
    var runCount = 0
    var freeCount = 0
    bits.forEachRun { run in
      census.add(run.count)
      runCount += 1
      freeCount += run.count
    }
    let counted = RunCensus.counting(bits)
    #expect(counted.census.isEqual(to: census), comment)
    #expect(counted.runCount == runCount && counted.freeCount == freeCount, comment)
    #expect(!counted.census.needsRecount, comment)
  }

  @Test func countingByWords() {
    var random = SeededRandom(testSeed: 11)
    for size in [1, 63, 64, 65, 1000, 32_767, 32_768] {
      let bits = SectorBitmap(bitCount: size)
      defer { bits.deallocate() }
      Self.expectSame(bits, "\(size), none")
      bits.set(0..<size)
      Self.expectSame(bits, "\(size), all")
      for longest in [1, 2, 3, 60, 64, 65, 130, 5000, 40_000] {
        for _ in 0..<8 {
          bits.clear(0..<size)
          var position = random.below(longest + 1)
          while position < size {
            let end = min(position + 1 + random.below(longest), size)
            bits.set(position..<end)
            position = end + 1 + random.below(longest)
          }
          Self.expectSame(bits, "\(size), up to \(longest)")
        }
      }
    }
  }
}
