import Synchronization
import TestSupport
import Testing

@testable import FSCore

/// Where a file was read last is remembered. What was true then is never taken for what is true now.
@Suite(.timeLimit(.minutes(5))) struct KnownExtentTests {
  private static let size = 1 << 20
  private static let place: UInt64 = 512 << 10

  private static func filled(_ byte: UInt8, _ count: Int = 4096) -> [UInt8] {
    [UInt8](repeating: byte, count: count)
  }

  /// Each change is made after the file was read where it changes, and seen by the next read.
  @Test func eachChangeIsSeen() throws {
    let volume = try Volume.mountForTest(try TestImage.make())
    defer { try? volume.unmount() }
    let id = try volume.makeFile("/file")
    let other = try volume.makeFile("/other")
    try volume.writeBytes(other, at: 0, Self.filled(0x77, Self.size))
    let inode = try volume.inodes.inode(id)

    let changes: [(name: String, expected: UInt8, change: () throws -> Void)] = [
      ("an overwrite", 0x22, { try volume.writeBytes(id, at: Self.place, Self.filled(0x22)) }),
      (
        "a hole", 0,
        { try volume.content.allocate(id, .punchHole, offset: Self.place, length: 4096) }
      ),
      (
        "zeros", 0,
        { try volume.content.allocate(id, .zeroRange, offset: Self.place, length: 4096) }
      ),
      (
        "a cut and a new end", 0,
        {
          for size in [Self.place, UInt64(Self.size)] {
            var change = AttributeChanges()
            change.size = size
            _ = try volume.attributes.setAttributes(id, change)
          }
        }
      ),
      ("a balance", 0x11, { try volume.balanceAll() }),
      (
        "a clone", 0x77,
        {
          _ = try volume.content.clone(
            other, at: Self.place, to: id, at: Self.place, length: 64 << 10)
        }
      ),
    ]
    for (name, expected, change) in changes {
      for isSynchronized in [false, true] {
        try volume.writeBytes(id, at: 0, Self.filled(0x11, Self.size))
        try volume.synchronizeAll()
        for _ in 0..<2 {
          #expect(try volume.readBytes(id, at: Self.place, count: 4096) == Self.filled(0x11))
        }
        // Or this test would show nothing.
        let range = Self.place..<(Self.place + 4096)
        try #require(inode.knownExtent(of: range, inode.tree.changeCount) != nil)

        try change()
        if isSynchronized { try volume.synchronizeAll() }
        #expect(
          try volume.readBytes(id, at: Self.place, count: 4096) == Self.filled(expected),
          "\(name), synchronized: \(isSynchronized)")
        let before = try volume.readBytes(id, at: Self.place - 4096, count: 4096)
        #expect(before == Self.filled(0x11), "before \(name), synchronized: \(isSynchronized)")
      }
    }
  }

  /// Inline and compressed extents and those without data are not remembered: their bytes do not stand
  /// on the device as they are in the file.
  @Test func onlyPlainDataIsRemembered() throws {
    let volume = try Volume.mountForTest(try TestImage.make()) { $0.compress("zstd:1") }
    defer { try? volume.unmount() }
    let cases: [(name: String, make: (InodeID) throws -> Void)] = [
      ("inline", { try volume.writeBytes($0, at: 0, Self.filled(1, 100)) }),
      ("compressed", { try volume.writeBytes($0, at: 0, Self.filled(1, 64 << 10)) }),
      (
        "preallocated",
        { try volume.content.allocate($0, .plain, offset: 0, length: 64 << 10) }
      ),
    ]
    for (name, make) in cases {
      let id = try volume.makeFile("/\(name)")
      try make(id)
      try volume.synchronizeAll()
      _ = try volume.readBytes(id, at: 0, count: 4096)
      let inode = try volume.inodes.inode(id)
      #expect(inode.item.withLock { _ in inode.file.knownExtent == nil }, "\(name)")
    }
  }

  /// What a deleted subvolume's tree led to is freed without a change of that tree.
  @Test func aTreeThatWasLetGoOfCountsAsChanged() throws {
    let tree = try TreeFixture(id: .uuid).tree!
    let before = tree.changeCount
    tree.retire()
    #expect(tree.changeCount != before)
  }

  /// One thread writes ever higher numbers and has them written back, others read: none finds a lower
  /// number than had been written when it began.
  @Test func noReaderGoesBack() throws {
    let volume = try Volume.mountForTest(try TestImage.make())
    defer { try? volume.unmount() }
    let id = try volume.makeFile("/file")
    try volume.writeBytes(id, at: 0, Self.filled(0, Self.size))
    try volume.synchronizeAll()

    final class Progress: Sendable {
      let written = Atomic<Int>(0)
      let isOver = Atomic<Bool>(false)
      let failures = Guarded<[String]>([], rank: .leaf)
    }
    let progress = Progress()
    let readers = (0..<2).map { _ in
      BackgroundThread {
        while !progress.isOver.load(ordering: .acquiring) {
          let least = progress.written.load(ordering: .acquiring)
          do {
            let bytes = try volume.readBytes(id, at: Self.place, count: 4096)
            if bytes.contains(where: { $0 != bytes[0] }) || Int(bytes[0]) < least {
              progress.failures.withLock { $0.append("\(bytes[0]) after \(least)") }
            }
          } catch {
            progress.failures.withLock { $0.append("\(error)") }
          }
        }
      }
    }
    defer {
      progress.isOver.store(true, ordering: .releasing)
      for reader in readers { reader.join() }
    }
    for number in 1...200 {
      try volume.writeBytes(id, at: Self.place, Self.filled(UInt8(number)))
      progress.written.store(number, ordering: .releasing)
      if number % 2 == 0 { volume.files.flushAll() }
      if number % 8 == 0 { try volume.commit() }
    }
    progress.isOver.store(true, ordering: .releasing)
    let failures = progress.failures.withLock { $0 }
    #expect(failures.isEmpty, "\(failures.prefix(5))")
  }
}
