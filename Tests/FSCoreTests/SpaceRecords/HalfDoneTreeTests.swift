import TestSupport
import Testing

@testable import FSCore

/// A change of the free space tree that ends half way, after its first block was changed: the volume
/// is aborted, takes no change any more, and the device holds the last good commit.
@Suite(.timeLimit(.minutes(5))) struct HalfDoneTreeTests {
  /// Allocates as the volume does, but for one block of the free space tree.
  private final class FailingAllocator: TreeBlockAllocator {
    private let allocator: any TreeBlockAllocator
    private let left: Guarded<Int>

    init(_ allocator: any TreeBlockAllocator, after count: Int) {
      self.allocator = allocator
      left = Guarded(count, rank: .leaf)
    }

    var hasFailed: Bool { left.withLock { $0 < 0 } }

    func allocateTreeBlock(
      for tree: TreeID, level: UInt8, in handle: borrowing TransactionHandle
    ) throws(FilesystemError) -> LogicalAddress {
      if tree == .freeSpace {
        let fails = left.withLock { left in
          left -= 1
          return left == -1
        }
        if fails { throw .noSpace }
      }
      return try allocator.allocateTreeBlock(for: tree, level: level, in: handle)
    }
  }

  /// How many pieces the file has. Half of them are freed, which is still too few for bitmaps.
  private static let pieces: UInt64 = 2400

  /// An image whose free space tree has many leaves.
  private static func makeBase() throws -> MemoryDevice {
    let device = try TestImage.make(sizeBytes: 12 << 30) { options in
      options.nodeSize = 4096
      options.spaceRecord = .v2
    }
    let volume = try Volume.mountForTest(device)
    try volume.writeBytes(volume.makeFile("/large"), at: 0, [UInt8](repeating: 1, count: 10 << 20))
    let file = try volume.makeFile("/pieces")
    for piece in 0..<pieces {
      try volume.writeBytes(file, at: piece * 8192, [UInt8](repeating: 2, count: 4096))
    }
    try volume.synchronizeAll()
    try punch(volume, file, [0])
    try volume.unmount()
    return device
  }

  /// Frees every eighth piece of the file, from each of `first` on.
  private static func punch(_ volume: Volume, _ file: InodeID, _ first: [UInt64]) throws {
    for first in first {
      for piece in stride(from: first, to: pieces, by: 8) {
        try volume.content.allocate(file, .punchHole, offset: piece * 8192, length: 4096)
      }
    }
  }

  /// Every allocation for the tree in a commit fails once. The first ones copy a path; others come
  /// from leaves that are divided, whose items have moved by then.
  @Test func everyAllocationMayFail() throws {
    let base = try Self.makeBase()
    var number = 0
    var halfDone = 0
    var repetitions = 0
    while true {
      let device = base.copy()
      let volume = try Volume.mountForTest(device)
      let old = try volume.stateLines()
      let committed = volume.transactions.committed
      // Ranges come everywhere between others, so that leaves are divided.
      try Self.punch(volume, volume.find("/pieces"), [2, 4, 6])
      try volume.makeFile("/new")
      volume.files.flushAll()
      let allocator = FailingAllocator(volume.space.allocator, after: number)
      volume.trees.context.allocator = allocator
      var failure: FilesystemError?
      do throws(FilesystemError) { try volume.commit() } catch { failure = error }
      volume.trees.context.allocator = volume.space.allocator
      guard allocator.hasFailed else {
        #expect(failure == nil)
        // The background may have committed some of the changes before the allocator was in place.
        if committed.next.next <= volume.transactions.committed, repetitions < 10 {
          repetitions += 1
          try volume.unmount()
          continue
        }
        try volume.unmount()
        try FreeSpaceTreeJudge.judge(device)
        break
      }

      let record = try #require(volume.record as? FreeSpaceTree)
      let root = try #require(record.state.withLock { $0.tree }).rootState
      if root.generation > volume.transactions.committed { halfDone += 1 }
      #expect(failure?.errno == FilesystemError.noSpace.errno, "allocation \(number)")
      #expect(volume.transactions.failure != nil, "allocation \(number)")
      #expect(throws: FilesystemError.aborted) { try volume.makeFile("/more") }
      #expect(throws: FilesystemError.aborted) { try volume.unmount() }

      // What is on the device is the last commit, whole.
      let after = try Volume.mountForTest(device.copy())
      #expect(try after.stateLines() == old, "allocation \(number)")
      try after.unmount()
      try FreeSpaceTreeJudge.judge(device, "allocation \(number)")
      if number < 4 || number % 4 == 0 { try CacheJudge.check(device) }
      number += 1
    }
    print("  \(number) allocations for the free space tree, \(halfDone) left a change half done")
    #expect(number > 4 && halfDone > 3)
  }
}
