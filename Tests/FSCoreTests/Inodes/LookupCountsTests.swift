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
  @Test(arguments: [126, 127, 128, 129, 255, 256, 1000] as [UInt64], [false, true])
  func largeCounts(_ total: UInt64, opened: Bool) {
    let counts = LookupCounts()
    for number in 0..<total {
      counts.add(id(256))
      if opened && number == total / 2 { #expect(counts.noteOpen(id(256))) }
    }
    counts.add(id(257))
    #expect(!counts.remove(id(256), lookups: total - 125))
    for _ in 0..<124 { #expect(!counts.remove(id(256), lookups: 1)) }
    #expect(counts.noteOpen(id(256)) == !opened)
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

  /// What was opened counts as new when all references were given back.
  @Test func firstOpens() {
    let counts = LookupCounts()
    #expect(!counts.noteOpen(id(256)))
    for _ in 0..<2 {
      counts.add(id(256))
      counts.add(id(256))
      #expect(counts.noteOpen(id(256)))
      #expect(!counts.remove(id(256), lookups: 1))
      #expect(!counts.noteOpen(id(256)))
      #expect(counts.remove(id(256), lookups: 1))
    }
  }

  /// Against plain collections.
  @Test(.timeLimit(.minutes(1))) func randomChanges() {
    let counts = LookupCounts()
    var model: [InodeID: UInt64] = [:]
    var opened: Set<InodeID> = []
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
        if count == given { opened.remove(id) }
      }
      guard random.oneIn(4) else { continue }
      let isFirst = model[id] ?? 0 > 0 && opened.insert(id).inserted
      #expect(counts.noteOpen(id) == isFirst)
    }
    for (id, count) in model { #expect(counts.contains(id) == (count > 0)) }
  }
}
