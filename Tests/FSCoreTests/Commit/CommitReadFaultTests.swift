import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// Reads that fail in every part of a commit. Each step has a defined outcome: a cache is lost, or
/// this commit fails and the next one makes up for it, or the volume is aborted. None leaves a
/// volume that takes writes and cannot commit. A fault that passes never aborts. Each of the reads by
/// hand (`TestSeed.isThorough`), in CI the first ones and some of the others.
@Suite(.timeLimit(.minutes(3))) struct CommitReadFaultTests {
  enum Kind: CaseIterable, Sendable {
    /// One read fails.
    case transient
    /// All reads fail from some moment on.
    case lasting
  }

  private static func following(_ number: Int) -> Int {
    number + (TestSeed.isThorough || number < 12 ? 1 : 1 + number / 8)
  }

  /// What keeps free space, and where the block groups' items are.
  enum Form: CaseIterable, Sendable {
    case v1
    case v2
    case noRecord
    /// The free space tree, and a tree of several leaves for the items of many block groups.
    case blockGroupTree

    var hasFreeSpaceTree: Bool { self == .v2 || self == .blockGroupTree }
  }

  private static let bases = Form.allCases.map { form in (form, Result { try makeBase(form) }) }

  private static func base(_ form: Form) throws -> MemoryDevice {
    try bases.first { $0.0 == form }!.1.get()
  }

  private static let manyGroups: UInt64 = 170

  /// An image whose trees have many leaves, and one copy of each.
  private static func makeBase(_ form: Form) throws -> MemoryDevice {
    let sizeBytes: UInt64 = form == .blockGroupTree ? (manyGroups + 12) << 30 : 12 << 30
    let device = try TestImage.make(sizeBytes: sizeBytes) { options in
      options.nodeSize = 4096
      options.spaceRecord = form.hasFreeSpaceTree ? .v2 : .v1
      options.hasBlockGroupTree = form == .blockGroupTree
      // A second copy would make up for nearly all.
      options.metadata = .single
    }
    let volume = try Volume.mountForTest(device) {
      if form == .noRecord { $0.spaceCache = .none }
    }
    if form == .blockGroupTree {
      let id = try volume.makeFile("/groups")
      for group in 0..<manyGroups {
        try volume.content.allocate(
          id, .keepSize, offset: group << 30, length: 1 << 30 - 8 << 20)
      }
    }
    for directory in 0..<8 {
      try volume.makeDirectory("/d\(directory)")
      for file in 0..<160 {
        let id = try volume.makeFile("/d\(directory)/f\(file)")
        let count = file % 3 == 0 ? 9000 : 700
        try volume.writeBytes(id, at: 0, [UInt8](repeating: UInt8(file), count: count))
      }
      try volume.synchronizeAll()
    }
    try volume.writeBytes(
      volume.makeFile("/large"), at: 0, [UInt8](repeating: 1, count: 10 << 20))
    // The free space tree, too, gets leaves that only a part of the changes is in.
    if form == .v2 { try volume.fragment("/fragments", holes: 500) }
    try volume.unmount()
    if form == .blockGroupTree { #expect(try places(of: .blockGroup, device).count > 2) }
    return device
  }

  /// Changes what touches many leaves of all trees, and leaves no block in memory that is on the
  /// device, but for a few.
  private static func change(_ volume: Volume) throws {
    for file in stride(from: 0, to: 160, by: 4) { try volume.remove("/d\(file % 8)/f\(file)") }
    for file in 0..<12 {
      let id = try volume.makeFile("/d0/new\(file)")
      try volume.writeBytes(id, at: 0, [UInt8](repeating: 9, count: 20_000))
    }
    // The commit has to tell the trees of new chunks.
    let long = try volume.makeFile("/d0/long")
    try volume.content.allocate(long, .plain, offset: 0, length: 1500 << 20)
    // In groups of several leaves.
    if let groups = try? volume.find("/groups") {
      for group in stride(from: 2, to: manyGroups, by: 50) {
        try volume.content.allocate(groups, .punchHole, offset: group << 30, length: 4096)
      }
    }
    volume.files.flushAll()
    let clean = volume.memory.cleanBlocks
    clean.charge(1 << 40)
    for _ in 0..<3 { volume.trees.context.cache.trim() }
    clean.giveBack(1 << 40)
  }

  @Test(arguments: Kind.allCases, Form.allCases)
  func everyReadOfACommitMayFail(kind: Kind, form: Form) throws {
    let base = try Self.base(form)
    let unchanged = try Volume.mountForTest(base.copy())
    let old = try unchanged.stateLines()
    try unchanged.unmount()
    var (number, madeUpFor, aborted, unharmed) = (0, 0, 0, 0)
    while true {
      let device = try SimulatedDevice(base.copy())
      let volume = try Volume.mountForTest(device)
      try Self.change(volume)
      let before = device.failures
      device.fail(.init([.read], after: number, times: kind == .transient ? 1 : .max))
      var failures = 0
      for _ in 0..<3 where volume.transactions.failure == nil {
        do throws(FilesystemError) {
          try volume.commit()
          break
        } catch {
          failures += 1
          #expect(error.errno == 5, "\(error)")
        }
      }
      let hasFailed = device.failures > before
      device.heal()

      // Aborted, or all is durable: nothing in between.
      let isAborted = volume.transactions.failure != nil
      if isAborted {
        aborted += 1
        #expect(throws: FilesystemError.aborted) { try volume.makeFile("/d0/more") }
        #expect(throws: FilesystemError.aborted) { try volume.unmount() }
      } else {
        #expect(failures <= 1, "read \(number): \(failures) commits failed")
        if failures > 0 { madeUpFor += 1 } else if hasFailed { unharmed += 1 }
        #expect(!volume.transactions.isDirty, "read \(number)")
        #expect(volume.brokenInvariants() == [], "read \(number)")
        if kind == .lasting, hasFailed { #expect(failures == 0) }
      }
      let new = isAborted ? old : try volume.stateLines()
      let image = device.memory.copy()
      if !isAborted { try volume.unmount() }

      let after = try Volume.mountForTest(image)
      #expect(try after.stateLines() == new, "read \(number)")
      try after.synchronizeAll()
      #expect(after.brokenInvariants() == [], "read \(number)")
      try after.unmount()
      switch form {
      case .v1: try CacheJudge.judge(image, without: Set(after.space.groups.all.map(\.start)))
      case .v2, .blockGroupTree: try FreeSpaceTreeJudge.judge(image, "read \(number)")
      case .noRecord: try FreeSpaceTreeJudge.expectNoRecord(image)
      }
      if number % 32 == 3 { try CacheJudge.check(image) }
      if !hasFailed { break }
      number = Self.following(number)
    }
    print(
      "  \(form), \(kind): \(number) reads, \(madeUpFor) made up for, \(aborted) aborted, \(unharmed) unharmed"
    )
    #expect(number > 3)
    // A commit may always be made up for after a fault that passes.
    #expect(kind == .transient ? madeUpFor > 0 && aborted == 0 : aborted > 0)
  }

  /// Reads of the free space tree cost no more than the tree: no commit fails for them, and the
  /// image is right, with nothing of an old tree left.
  ///
  /// - Parameter isVerified: the groups' items have been found right before, so that the reads fail
  ///   between one change of items and the next.
  @Test(arguments: Kind.allCases, [false, true])
  func everyReadOfTheFreeSpaceTreeMayFail(kind: Kind, isVerified: Bool) throws {
    let base = try Self.base(.v2)
    var number = 0
    while number < 100 {
      let device = try SimulatedDevice(base.copy())
      let volume = try Volume.mountForTest(device)
      let file = try volume.find("/fragments")
      func punch(_ hole: UInt64) throws {
        try volume.content.allocate(file, .punchHole, offset: hole * 16384 + 8192, length: 4096)
      }
      if isVerified {
        for hole in 0..<3 as Range<UInt64> { try punch(hole * 200 + 50) }
        try volume.synchronizeAll()
      }
      for hole in stride(from: 0, to: 500 as UInt64, by: 9) { try punch(hole) }
      try Self.change(volume)
      let blocks = try Self.places(of: .freeSpace, device.memory)
      #expect(blocks.count > 3)
      for block in blocks { volume.trees.context.cache.drop(block.address) }
      device.fail(
        .init(
          [.read], in: blocks.map(\.place), after: number, times: kind == .transient ? 1 : .max))
      try volume.commit()
      let hasFailed = device.failures > 0
      #expect(volume.transactions.failure == nil, "read \(number)")
      #expect(volume.brokenInvariants() == [], "read \(number)")
      try FreeSpaceTreeJudge.judge(device.memory.copy(), "read \(number)")
      device.heal()
      try volume.makeFile("/more")
      try volume.unmount()
      try FreeSpaceTreeJudge.judge(device.memory, "read \(number)")
      if number % 4 == 1 { try CacheJudge.check(device.memory) }
      if !hasFailed { break }
      number = Self.following(number)
    }
    print("  \(kind), \(isVerified): \(number) reads of the free space tree")
    #expect(number > 2 && number < 100)
  }

  /// Where the blocks of a tree stand on the device, of which there is one copy.
  private static func places(
    of tree: TreeID, _ device: MemoryDevice
  ) throws -> [(address: LogicalAddress, place: Range<UInt64>)] {
    let reader = try ImageReader(device: device)
    var places: [(address: LogicalAddress, place: Range<UInt64>)] = []
    try reader.walkBlocks(reader.root(of: tree)) { (pointer, _) throws(FilesystemError) in
      let place = try reader.device.locate(pointer.address, length: 4096, copy: 0)
      let range = place.offset.rawValue..<place.offset.rawValue + 4096
      places.append((pointer.address, range))
      return true
    }
    return places
  }
}
