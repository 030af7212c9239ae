import TestSupport
import Testing

@testable import FSCore

@Suite(.timeLimit(.minutes(2))) struct LookupCountsTests {
  private func id(_ number: UInt64, tree: TreeID = 5) -> InodeID {
    InodeID(tree: tree, number: ObjectID(number))
  }

  @Test func countsOfNeighboursAreApart() {
    let counts = LookupCounts()
    for number in 256..<400 as Range<UInt64> { counts.add(id(number)) }
    counts.add(id(300))
    #expect(!counts.contains(id(300, tree: 256)))
    #expect(!counts.remove(id(300), lookups: 1))
    for number in 256..<400 as Range<UInt64> {
      #expect(counts.contains(id(number)))
      #expect(counts.remove(id(number), lookups: 1))
      #expect(!counts.contains(id(number)))
    }
  }

  /// A byte is not enough for an inode that is listed again and again.
  @Test(arguments: [253, 254, 255, 256, 1000] as [UInt64])
  func largeCounts(_ total: UInt64) {
    let counts = LookupCounts()
    for _ in 0..<total { counts.add(id(256)) }
    counts.add(id(257))
    #expect(!counts.remove(id(256), lookups: total + 1 - 254))
    for _ in 0..<252 { #expect(!counts.remove(id(256), lookups: 1)) }
    #expect(counts.remove(id(256), lookups: 1))
    #expect(!counts.contains(id(256)))
    #expect(counts.contains(id(257)))
  }

  @Test func whatIsGivenBackTooOftenIsNone() {
    let counts = LookupCounts()
    #expect(counts.remove(id(256), lookups: 1))
    counts.add(id(256))
    #expect(counts.remove(id(256), lookups: .max))
    counts.add(id(256))
    #expect(counts.contains(id(256)))
  }

  /// Against a plain dictionary.
  @Test(.timeLimit(.minutes(1))) func randomChanges() {
    let counts = LookupCounts()
    var model: [InodeID: UInt64] = [:]
    var random = SeededRandom(testSeed: 13)
    for _ in 0..<200_000 {
      let id = id(256 + random.below(70), tree: random.oneIn(2) ? 5 : 300)
      let count = model[id] ?? 0
      if count == 0 || !random.oneIn(3) {
        counts.add(id)
        model[id] = count + 1
      } else {
        let given = 1 + random.below(count > 3 && random.oneIn(4) ? count : min(count, 3))
        model[id] = count - given
        #expect(counts.remove(id, lookups: given) == (count == given))
      }
    }
    for (id, count) in model { #expect(counts.contains(id) == (count > 0)) }
  }
}
