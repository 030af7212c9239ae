import FSCore
import Testing

@testable import fsmount

@Suite(.timeLimit(.minutes(2))) struct NodeNumbersTests {
  private let nodes = NodeNumbers(root: InodeID(tree: 5, number: 256))

  @Test func root() {
    #expect(nodes.reference(nodes.root) == 1)
    #expect(nodes.inode(1) == nodes.root)
    #expect(nodes.shown(nodes.root) == 256)
  }

  @Test(arguments: [
    InodeID(tree: 5, number: 257), InodeID(tree: 5, number: 1_099_511_627_775),
    InodeID(tree: 256, number: 256), InodeID(tree: 8_388_607, number: 300),
  ])
  func computed(_ id: InodeID) {
    let number = nodes.reference(id)
    #expect(number == nodes.shown(id))
    #expect(nodes.inode(number) == id)
    // Forgetting changes nothing.
    nodes.forget(number, lookups: 1)
    #expect(nodes.inode(number) == id)
  }

  @Test(arguments: [
    InodeID(tree: 5, number: 1_099_511_627_776), InodeID(tree: 8_388_608, number: 256),
  ])
  func fromTheTable(_ id: InodeID) {
    let number = nodes.reference(id)
    #expect(nodes.reference(id) == number)
    #expect(nodes.inode(number) == id)
    nodes.forget(number, lookups: 1)
    #expect(nodes.inode(number) == id)
    nodes.forget(number, lookups: 1)
    #expect(nodes.inode(number) == nil)
    #expect(nodes.reference(id) != number)
  }

  /// Stubs have numbers of their own, and show the one that Linux gives them all.
  @Test func stubs() {
    let first = InodeID(tree: 300, number: .firstStub)
    let second = InodeID(tree: 300, number: ObjectID(ObjectID.firstStub.rawValue + 1))
    let inRoot = InodeID(tree: 5, number: .firstStub)
    let numbers = [first, second, inRoot].map { nodes.reference($0) }
    #expect(Set(numbers).count == 3)
    #expect(numbers.map { nodes.inode($0) } == [first, second, inRoot])
    #expect(nodes.shown(first) == 300 << 40 | 2 && nodes.shown(second) == nodes.shown(first))
    #expect(nodes.shown(inRoot) == 2)
  }

  @Test func distinct() {
    let ids = [UInt64](0..<4).flatMap { tree in
      (0..<64).map { InodeID(tree: TreeID(256 + tree), number: ObjectID(UInt64(1) << $0)) }
    }
    let numbers = Set(ids.map { nodes.reference($0) })
    #expect(numbers.count == ids.count)
    #expect(ids.allSatisfy { nodes.inode(nodes.reference($0)) == $0 })
  }

  @Test func devices() {
    for (major, minor) in [(0, 0), (1, 3), (8, 17), (259, 70000), (4095, 1_048_575)] {
      let stored = UInt64(major) << 20 | UInt64(minor)
      #expect(DeviceNumber.stored(DeviceNumber.forKernel(stored)) == stored)
    }
    #expect(DeviceNumber.forKernel(1 << 20 | 3) == 0x103)
  }
}
