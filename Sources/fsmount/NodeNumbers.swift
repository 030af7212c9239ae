import FSCore

/// The kernel's numbers for inodes, computed from an inode's identity and back, so that no table
/// grows with the number of files that the kernel knows.
///
/// 1. The mounted root directory is number 1.
/// 2. Any other inode `n` of the mounted subvolume is number `n`; of another subvolume
///    `slot << 48 | n`, with a slot for each subvolume in the order in which they are met.
/// 3. What does not fit there (a number of 2^48 or more, a subvolume beyond 65,534) has a number
///    of its own, from a table, while the kernel knows it. No image made by Linux needs this.
final class NodeNumbers: Sendable {
  let root: InodeID

  private static let numberBits: UInt64 = 48
  private static let numberMask: UInt64 = (1 << 48) - 1
  private static let lastSlot: UInt64 = 0xfffe
  private static let tableSlot: UInt64 = 0xffff

  private struct Slots {
    var trees: [TreeID]
    var slots: [TreeID: UInt64]
  }

  /// Numbers after invariant 3.
  private struct Table {
    struct Entry {
      let id: InodeID
      /// How often the kernel was given the number, and has not forgotten it.
      var lookups: UInt64
    }

    var entries: [UInt64: Entry] = [:]
    var numbers: [InodeID: UInt64] = [:]
    var last: UInt64 = 0
  }

  private let slotsLock = ReadWriteLock(rank: .leaf)
  private nonisolated(unsafe) var slots: Slots
  private let table = Guarded(Table(), rank: .leaf)

  init(root: InodeID) {
    self.root = root
    slots = Slots(trees: [root.tree], slots: [root.tree: 0])
  }

  /// The inode that `number` stands for; nil when the kernel cannot have it from here.
  func inode(_ number: UInt64) -> InodeID? {
    if number == 1 { return root }
    let slot = number >> Self.numberBits
    let low = ObjectID(number & Self.numberMask)
    switch slot {
    case 0:
      return InodeID(tree: root.tree, number: low)
    case Self.tableSlot:
      return table.withLock { $0.entries[number]?.id }
    default:
      return slotsLock.shared {
        slot < UInt64(slots.trees.count) ? InodeID(tree: slots.trees[Int(slot)], number: low) : nil
      }
    }
  }

  /// The number of `id`, which the kernel is about to be given with a reference to it.
  func reference(_ id: InodeID) -> UInt64 {
    if id == root { return 1 }
    return computed(id)
      ?? table.withLock { table in
        if let number = table.numbers[id] {
          table.entries[number]!.lookups += 1
          return number
        }
        table.last += 1
        let number = Self.tableSlot << Self.numberBits | table.last
        table.numbers[id] = number
        table.entries[number] = Table.Entry(id: id, lookups: 1)
        return number
      }
  }

  /// The kernel has given up `lookups` of its references to `number`.
  func forget(_ number: UInt64, lookups: UInt64) {
    guard number >> Self.numberBits == Self.tableSlot else { return }
    table.withLock { table in
      guard let entry = table.entries[number] else { return }
      if entry.lookups > lookups {
        table.entries[number]!.lookups -= lookups
      } else {
        table.entries[number] = nil
        table.numbers[entry.id] = nil
      }
    }
  }

  /// What stat(2) shows as the inode number. All of a mount has one device number, hence the
  /// slot in it: else files of two subvolumes could look like one with two names.
  func shown(_ id: InodeID) -> UInt64 { computed(id) ?? id.number.rawValue }

  /// The number after invariant 2; nil when the inode needs the table.
  private func computed(_ id: InodeID) -> UInt64? {
    guard id.number.rawValue <= Self.numberMask else { return nil }
    if id.tree == root.tree { return id.number.rawValue }
    return slot(of: id.tree).map { $0 << Self.numberBits | id.number.rawValue }
  }

  private func slot(of tree: TreeID) -> UInt64? {
    if let slot = slotsLock.shared({ slots.slots[tree] }) { return slot }
    return slotsLock.exclusive {
      if let slot = slots.slots[tree] { return slot }
      let slot = UInt64(slots.trees.count)
      guard slot <= Self.lastSlot else { return nil }
      slots.trees.append(tree)
      slots.slots[tree] = slot
      return slot
    }
  }
}
