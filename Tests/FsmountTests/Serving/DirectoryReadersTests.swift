import Testing

@testable import fsmount

@Suite(.timeLimit(.minutes(2))) struct DirectoryReadersTests {
  private let readers = DirectoryReaders()

  /// How many entries the answer to a first request for directory 7 may have.
  private var first: Int { readers.note(7, from: 0, withAttributes: true) }

  @Test func aReaderOfNamesGetsAShortFirstAnswer() {
    #expect(first < 32)
    #expect(readers.note(7, from: 20, withAttributes: false) == .max)
    #expect(first < 32)
  }

  @Test func aReaderOfAttributesGetsThemFromThenOn() {
    #expect(first < 32)
    #expect(readers.note(7, from: 20, withAttributes: true) == .max)
    #expect(first == .max)
    _ = readers.note(7, from: 20, withAttributes: false)
    #expect(first < 32)
  }

  /// Where no attributes are asked for there is nothing to shorten.
  @Test func namesAreNeverCutShort() {
    #expect(readers.note(7, from: 0, withAttributes: false) == .max)
  }

  @Test func whatIsReadAgainIsKept() {
    #expect(!readers.mustKeep(7))
    _ = first
    #expect(readers.mustKeep(7))
    #expect(!readers.mustKeep(8))
    // 1031 has the slot of 7.
    _ = readers.note(1031, from: 0, withAttributes: false)
    #expect(readers.mustKeep(1031))
    #expect(!readers.mustKeep(7))
  }
}
