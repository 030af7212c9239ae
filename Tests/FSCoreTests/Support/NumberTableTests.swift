import TestSupport
import Testing

@testable import FSCore

@Suite(.timeLimit(.minutes(2))) struct NumberTableTests {
  /// A key whose number is that of many others.
  private struct Crowded: TableKey, Hashable {
    let id: Int
    var tableNumber: UInt64 { UInt64(id % 3) }
  }

  /// Whatever is done to it, it says what a dictionary says.
  @Test(arguments: [1, 2, 3])
  func saysWhatADictionarySays(seed: UInt64) {
    var random = SeededRandom(testSeed: seed)
    var table = NumberTable<LogicalAddress, Int>()
    var model: [LogicalAddress: Int] = [:]
    for step in 0..<20_000 {
      // Grows, then shrinks, then grows again.
      let isGrowing = step / 4000 % 2 == 0
      let key = LogicalAddress(UInt64(random.below(3000)) << 14)
      if random.below(10) < (isGrowing ? 7 : 2) {
        table[key] = step
        model[key] = step
      } else if random.below(2) == 0 {
        #expect(table.removeValue(forKey: key) == model.removeValue(forKey: key))
      } else {
        table[key] = nil
        model[key] = nil
      }
      #expect(table.count == model.count)
      let other = LogicalAddress(UInt64(random.below(3000)) << 14)
      #expect(table[other] == model[other])
    }
    for (key, value) in model { #expect(table[key] == value) }
    #expect(table.values.sorted() == model.values.sorted())
  }

  /// Keys of one number stand behind each other; removing one leaves the others to be found.
  @Test func keysOfOneNumberAreKeptApart() {
    var random = SeededRandom(testSeed: 4)
    var table = NumberTable<Crowded, Int>()
    var model: [Crowded: Int] = [:]
    for step in 0..<5000 {
      let key = Crowded(id: random.below(40))
      if random.below(2) == 0 {
        table[key] = step
        model[key] = step
      } else {
        #expect(table.removeValue(forKey: key) == model.removeValue(forKey: key))
      }
      for id in 0..<40 { #expect(table[Crowded(id: id)] == model[Crowded(id: id)]) }
    }
  }

  /// What was removed is let go of, and what is there is held.
  @Test func holdsWhatIsThere() {
    final class Object: Sendable {}
    var table = NumberTable<LogicalAddress, Object>()
    weak var first: Object?
    do {
      let object = Object()
      first = object
      table[4096] = object
      for number in 2..<200 { table[LogicalAddress(UInt64(number) << 12)] = Object() }
    }
    #expect(first != nil)
    for number in 2..<200 { table[LogicalAddress(UInt64(number) << 12)] = nil }
    #expect(first != nil && table.count == 1)
    table[4096] = nil
    #expect(first == nil && table.isEmpty)
  }
}
