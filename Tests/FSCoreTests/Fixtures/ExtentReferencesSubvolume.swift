import Glibc
import TestSupport

@testable import FSCore

extension ExtentReferencesFixture {
  func stored() throws -> [LogicalAddress: FixtureReferences] {
    var full: Set<LogicalAddress> = []
    return try stored(full: &full)
  }
}

/// The file extents of a subvolume, and random changes of them.
struct SubvolumeModel: Sendable {
  let keyCount: UInt64
  private var items: [Key: FileExtentItem] = [:]
  private var keys: [Key] = []

  init(keyCount: UInt64) { self.keyCount = keyCount }

  /// One change of the tree, with the references that go with it.
  mutating func step(
    _ id: TreeID, _ fixture: ExtentReferencesFixture, _ random: inout SeededRandom,
    in h: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let number = UInt64.random(in: 0..<keyCount, using: &random)
    let key = Key(ObjectID(257 + number / 50), .extentData, number % 50 * 65536)
    if let item = items[key] {
      try remove(key, item, id, fixture, in: h)
      return
    }

    var item: FileExtentItem
    let isNew = keys.isEmpty || Int.random(in: 0..<3, using: &random) > 0
    if isNew {
      let length = 4096 * (2 * UInt64.random(in: 2...7, using: &random) + 1)
      let address = fixture.space.allocateData(length: length)
      item = FileExtentItem(
        generation: h.generation, kind: .regular, diskAddress: address, diskLength: length,
        ramBytes: length, offset: 0, length: length)
      let sums = [UInt8](repeating: 1, count: Int(length / 4096) * fixture.checksums.sumSize)
      var failure: FilesystemError?
      sums.withUnsafeBytes { bytes in
        do throws(FilesystemError) {
          try fixture.checksums.insert(at: address, bytes, in: h)
        } catch {
          failure = error
        }
      }
      if let failure { throw failure }
    } else {
      item = items[keys.randomElement(using: &random)!]!
      item.offset = 4096 * UInt64.random(in: 0...1, using: &random)
      item.length = item.diskLength - item.offset
    }
    try fixture.subvolumes[id]!.insert(key, size: FileExtentItem.size, in: h) {
      item.encode(into: $0)
    }
    fixture.references.add(
      item.diskAddress, .data(length: item.diskLength),
      .data(root: id, inode: key.objectID, offset: key.offset &- item.offset), count: 1,
      newExtent: isNew, in: h)
    items[key] = item
    keys.append(key)
  }

  private mutating func remove(
    _ key: Key, _ item: FileExtentItem, _ id: TreeID, _ fixture: ExtentReferencesFixture,
    in h: borrowing TransactionHandle
  ) throws(FilesystemError) {
    guard try fixture.subvolumes[id]!.delete(key, in: h) else { throw .notFound }
    fixture.references.add(
      item.diskAddress, .data(length: item.diskLength),
      .data(root: id, inode: key.objectID, offset: key.offset &- item.offset), count: -1,
      newExtent: false, in: h)
    items[key] = nil
    keys.removeAll { $0 == key }
  }

  mutating func removeAll(
    _ id: TreeID, _ fixture: ExtentReferencesFixture, in h: borrowing TransactionHandle
  ) throws(FilesystemError) {
    for (key, item) in items.sorted(by: { $0.key < $1.key }) {
      try remove(key, item, id, fixture, in: h)
    }
  }
}

/// A thread that runs a closure.
final class FixtureThread {
  private final class Body {
    let run: () -> Void
    init(_ run: @escaping () -> Void) { self.run = run }
  }

  private var thread = pthread_t()

  init(_ run: @escaping @Sendable () -> Void) {
    let body = Unmanaged.passRetained(Body(run)).toOpaque()
    let code = pthread_create(
      &thread, nil,
      { pointer in
        Unmanaged<Body>.fromOpaque(pointer!).takeRetainedValue().run()
        return nil
      }, body)
    precondition(code == 0)
  }

  func join() { pthread_join(thread, nil) }
}
