import Testing

@testable import fsmount

@Suite(.timeLimit(.minutes(2))) struct DirectoryReadersTests {
  private let readers = DirectoryReaders()

  /// How many entries the answer to a first request for directory 7 may have.
  private var first: Int { readers.note(7, from: 0, withAttributes: true) }

  /// Names alone are listed in directory 7, and so many of its files looked up.
  private func listNames(lookups: Int, isDirectory: Bool = false) {
    _ = readers.note(7, from: 20, withAttributes: false)
    for _ in 0..<lookups { readers.noteLookup(in: 7, isDirectory: isDirectory) }
    _ = readers.note(7, from: 40, withAttributes: false)
  }

  @Test func aReaderOfNamesGetsAShortFirstAnswer() {
    #expect(first < 32)
    #expect(readers.note(7, from: 20, withAttributes: false) == .max)
    #expect(first < 32)
  }

  @Test func aReaderOfAttributesGetsThemFromThenOn() {
    #expect(first < 32)
    #expect(readers.note(7, from: 20, withAttributes: true) == .max)
    for _ in 0..<DirectoryReaders.lasting {
      #expect(first == .max)
      // The kernel's last request for a directory never asks for attributes.
      _ = readers.note(7, from: 200, withAttributes: false)
    }
    #expect(first < 32)
  }

  /// Programs that list a directory as a whole and then look at each file.
  @Test func whoLooksUpWhatWasListedGetsAttributesFromThenOn() {
    listNames(lookups: DirectoryReaders.tellingLookups)
    #expect(first == .max)
  }

  @Test func aFewLookupsSayNothing() {
    listNames(lookups: DirectoryReaders.tellingLookups - 1)
    #expect(first < 32)
    // They are counted for each directory by itself.
    _ = readers.note(8, from: 20, withAttributes: false)
    listNames(lookups: DirectoryReaders.tellingLookups - 1)
    #expect(first < 32)
  }

  /// A reader of names goes on to the directories among them, and somebody else looks elsewhere.
  @Test func otherLookupsSayNothing() {
    listNames(lookups: 100, isDirectory: true)
    for _ in 0..<100 { readers.noteLookup(in: 8, isDirectory: false) }
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
