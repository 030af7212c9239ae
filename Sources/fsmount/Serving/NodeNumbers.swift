import FSCore

/// The kernel's numbers for inodes, computed from an inode's identity and back, so that no table
/// grows with the number of files that the kernel knows, and that a file has the same number at
/// the next mount.
///
/// 1. The mounted root directory is number 1.
/// 2. Any other inode `n` of the mounted subvolume is number `n`; of another subvolume `t` it is
///    `t << 40 | n`.
/// 3. What does not fit there (an inode number of 2^40 or more, a subvolume of 2^23 or more) has
///    a number with the highest bit set, from a table, while the kernel knows it.
final class NodeNumbers: Sendable {
  let root: InodeID

  private static let inodeBits: UInt64 = 40
  private static let inodeMask: UInt64 = 1 << inodeBits - 1
  private static let firstLargeTree = TreeID(1 << 23)
  private static let tableBit: UInt64 = 1 << 63

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

  private let table = Guarded(Table(), rank: .leaf)

  init(root: InodeID) { self.root = root }

  /// The inode that `number` stands for; nil when the kernel cannot have it from here.
  func inode(_ number: UInt64) -> InodeID? {
    if number == 1 { return root }
    if number & Self.tableBit != 0 { return table.withLock { $0.entries[number]?.id } }
    let tree = number >> Self.inodeBits
    return InodeID(
      tree: tree == 0 ? root.tree : TreeID(tree), number: ObjectID(number & Self.inodeMask))
  }

  /// The number of `id`, which the kernel is about to be given with a reference to it.
  func reference(_ id: InodeID) -> UInt64 {
    if id == root { return 1 }
    if let number = computed(id) { return number }
    return table.withLock { table in
      let number = table.numbers[id] ?? Self.tableBit | table.last + 1
      table.last = max(table.last, number ^ Self.tableBit)
      table.numbers[id] = number
      table.entries[number, default: Table.Entry(id: id, lookups: 0)].lookups += 1
      return number
    }
  }

  /// The kernel has given up `lookups` of its references to `number`.
  func forget(_ number: UInt64, lookups: UInt64) {
    guard number & Self.tableBit != 0 else { return }
    table.withLock { table in
      guard let entry = table.entries[number] else { return }
      if entry.lookups > lookups {
        table.entries[number]?.lookups -= lookups
      } else {
        table.entries[number] = nil
        table.numbers[entry.id] = nil
      }
    }
  }

  /// What stat(2) shows as the inode number. All of a mount has one device number, hence the
  /// subvolume in it: else files of two subvolumes could look like one with two names. All stubs
  /// of a subvolume show the one that Linux gives them.
  func shown(_ id: InodeID) -> UInt64 {
    let number = id.number.isStub ? .emptySubvolume : id.number
    let id = InodeID(tree: id.tree, number: number)
    return computed(id) ?? id.tree.rawValue << Self.inodeBits ^ id.number.rawValue
  }

  /// The number after invariant 2; nil when the inode needs the table.
  @inline(__always)
  private func computed(_ id: InodeID) -> UInt64? {
    guard id.number.rawValue <= Self.inodeMask else { return nil }
    if id.tree == root.tree { return id.number.rawValue }
    guard id.tree < Self.firstLargeTree else { return nil }
    return id.tree.rawValue << Self.inodeBits | id.number.rawValue
  }
}
