import TestSupport
import Testing

@testable import FSCore

@Suite(.timeLimit(.minutes(2))) struct StubPlacesTests {
  private func name(_ number: Int) -> [UInt8] { Array("stub \(number)".utf8) }
  private let directory = InodeID(tree: 300, number: 256)

  /// What the kernel refers to keeps its number; the rest does not pile up.
  @Test func whatNobodyRefersToGoes() throws {
    let lookups = LookupCounts()
    let places = StubPlaces(lookups: lookups)
    var held: [Int: InodeID] = [:]
    var given: Set<InodeID> = []
    for number in 0..<20 * StubPlaces.smallestBound {
      let id = try places.id(of: name(number), in: directory)
      #expect(given.insert(id).inserted && id.number.isStub && id.tree == directory.tree)
      if number % 50 == 0 {
        lookups.add(id)
        held[number] = id
      }
    }
    #expect(places.count <= 3 * held.count + 2 * StubPlaces.smallestBound)
    for (number, id) in held {
      #expect(places.directory(of: id) == directory)
      #expect(try places.id(of: name(number), in: directory) == id)
    }

    // Of the others the oldest are gone: their numbers stand for nothing, and they get new ones.
    let first = InodeID(tree: directory.tree, number: ObjectID(ObjectID.firstStub.rawValue + 1))
    #expect(places.directory(of: first) == nil)
    #expect(try !given.contains(places.id(of: name(1), in: directory)))
  }

  /// The same name in another directory is another stub.
  @Test func placesAreApart() throws {
    let places = StubPlaces(lookups: LookupCounts())
    let other = InodeID(tree: 301, number: 256)
    let below = InodeID(tree: 300, number: 257)
    let ids = try [directory, other, below].map { try places.id(of: name(1), in: $0) }
    #expect(Set(ids).count == 3)
    #expect(try places.id(of: name(1), in: directory) == ids[0])
    #expect(ids.map { places.directory(of: $0) } == [directory, other, below])
  }
}
