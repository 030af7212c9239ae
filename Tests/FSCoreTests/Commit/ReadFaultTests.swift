import Glibc
import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// A read fails, any read, once or from then on for good: in an operation, in the write-back of
/// data, in every part of a commit, and while mounting.
///
/// Whatever fails: the operation says so and the volume goes on committing, or the volume takes no
/// change any more; it never accepts changes that it cannot commit. The image is sound afterwards
/// and holds what the last good commit left. Each of the reads by hand (`TestSeed.isThorough`), in
/// CI the first ones and some of the others.
@Suite(.timeLimit(.minutes(10))) struct ReadFaultTests {
  enum Duration: Sendable, CaseIterable {
    case once
    case forGood

    var times: Int { self == .once ? 1 : .max }
  }

  /// One change of the prepared image, or a look at it.
  struct Operation: Sendable, CustomTestStringConvertible {
    var name: String
    var body: @Sendable (Volume) throws -> Void
    var testDescription: String { name }

    init(_ name: String, _ body: @escaping @Sendable (Volume) throws -> Void) {
      self.name = name
      self.body = body
    }
  }

  static let operations: [Operation] = [
    Operation("create") { try $0.makeFile("/d/new") },
    Operation("make a directory") { try $0.makeDirectory("/d/new") },
    Operation("write") {
      try $0.writeBytes($0.find("/d/f-17"), at: 4096, [UInt8](repeating: 9, count: 8192))
    },
    Operation("write a part of a sector") {
      try $0.writeBytes($0.find("/d/f-18"), at: 5000, [9, 9, 9])
    },
    Operation("write and fsync") { volume in
      let id = try volume.find("/d/f-19")
      try volume.writeBytes(id, at: 8192, [UInt8](repeating: 9, count: 8192))
      try volume.content.synchronize(id, dataOnly: false)
    },
    Operation("truncate") { volume in
      var changes = AttributeChanges()
      changes.size = 5_000
      _ = try volume.attributes.setAttributes(volume.find("/d/f-20"), changes)
    },
    Operation("unlink") { try $0.remove("/d/f-21") },
    Operation("rename over another") { try $0.move("/d/f-22", to: "/d/f-23") },
    Operation("set an attribute") {
      try $0.attributes.setAttribute(
        $0.find("/d/f-24"), Array("user.a".utf8), [UInt8](repeating: 9, count: 300))
    },
    Operation("punch a hole") {
      try $0.content.allocate($0.find("/d/f-25"), .punchHole, offset: 4096, length: 4096)
    },
    Operation("preallocate") {
      try $0.content.allocate($0.find("/d/f-26"), .plain, offset: 1 << 20, length: 1 << 20)
    },
    Operation("clone") {
      try $0.cloneAll($0.find("/d/f-28"), to: $0.find("/d/f-29"), at: 8192)
    },
    Operation("clone a small file") { volume in
      let source = try volume.find("/d/an-inline-file-with-a-long-name-7")
      try volume.cloneAll(source, to: volume.find("/d/an-inline-file-with-a-long-name-8"))
    },
    Operation("copy within a file") { volume in
      let id = try volume.find("/d/f-30")
      let done = try volume.content.copy(id, at: 100, to: id, at: 40_960 + 100, length: 12_000)
      // An error after the first bytes is told by a count that is too small.
      if done < 12_000 { throw FilesystemError.corrupt("only \(done) bytes were copied") }
    },
    Operation("list") { volume in
      let directory = try volume.find("/d")
      for name in try volume.names(directory) { _ = try volume.id(name, in: directory) }
    },
    Operation("read") { _ = try $0.readBytes($0.find("/d/f-27"), at: 0, count: 1 << 20) },
    Operation("make a subvolume") { try $0.makeSubvolume("/d/new") },
    Operation("take a snapshot") { try $0.makeSnapshot(of: "/", "/d/new") },
    Operation("empty a directory") { volume in
      for number in stride(from: 0, to: 60, by: 3) { try volume.remove("/d/f-\(number)") }
    },
  ]

  enum Form: Sendable, CaseIterable {
    case v1
    case noRecord
    /// The free space tree, and a tree for the items of block groups.
    case blockGroupTree
  }

  /// A prepared image, and where all of its tree blocks stand.
  struct Base: Sendable {
    let form: Form
    let device: MemoryDevice
    let blocks: [(tree: TreeID, logical: LogicalAddress, address: UInt64)]

    func judge(_ image: MemoryDevice, _ volume: Volume, _ what: Comment) throws {
      switch form {
      case .v1:
        try CacheJudge.judge(image, without: Set(volume.space.groups.all.map(\.start)), what)
      case .noRecord: try FreeSpaceTreeJudge.expectNoRecord(image)
      case .blockGroupTree: try FreeSpaceTreeJudge.judge(image, what)
      }
    }
  }

  /// Trees of several levels, of whose metadata there is one copy only.
  private static func makeBase(_ form: Form) throws -> Base {
    let device = try TestImage.make(sizeBytes: 512 << 20) { options in
      options.nodeSize = 4096
      options.metadata = .single
      options.hasBlockGroupTree = form == .blockGroupTree
    }
    let volume = try Volume.mountForTest(device) {
      if form == .noRecord { $0.spaceCache = .none }
    }
    try volume.makeDirectory("/d")
    for number in 0..<60 {
      let id = try volume.makeFile("/d/f-\(number)")
      let byte = UInt8(truncatingIfNeeded: number)
      // Extents apart, so that there are many.
      for piece in 0..<6 as Range<UInt64> {
        try volume.writeBytes(id, at: piece * 12288, [UInt8](repeating: byte, count: 8192))
      }
      if number % 10 == 9 { try volume.synchronizeAll() }
    }
    for number in 0..<200 {
      let id = try volume.makeFile("/d/an-inline-file-with-a-long-name-\(number)")
      try volume.writeBytes(id, at: 0, [UInt8](repeating: 1, count: 300))
    }
    try volume.unmount()
    return Base(form: form, device: device, blocks: try treeBlocks(of: device))
  }

  private static let bases = Form.allCases.map { form in (form, Result { try makeBase(form) }) }

  private static func base(_ form: Form = .v1) throws -> Base {
    try bases.first { $0.0 == form }!.1.get()
  }

  @Test(arguments: operations, Duration.allCases)
  func anyReadFails(operation: Operation, duration: Duration) throws {
    try anyReadFails(operation, duration, base: Self.base(), growth: 5)
  }

  /// The same where what is free is kept in other ways, for operations that use much of that.
  @Test(arguments: [Form.noRecord, .blockGroupTree], Duration.allCases)
  func anyReadFailsOfOtherForms(form: Form, duration: Duration) throws {
    for operation in Self.operations
    where TestSeed.isThorough
      || ["write and fsync", "take a snapshot", "empty a directory"].contains(operation.name)
    {
      try anyReadFails(operation, duration, base: Self.base(form), growth: 2)
    }
  }

  private func anyReadFails(
    _ operation: Operation, _ duration: Duration, base: Base, growth: Int
  ) throws {
    let (before, after) = try Self.states(base.device, operation)
    var number = 0
    while try faultIsMet(
      in: operation, number, duration, base: base, allowed: [before, after])
    {
      number += TestSeed.isThorough || number < 8 ? 1 : 1 + number / growth
    }
    #expect(number > 3)
  }

  /// The states of the image before and after an operation on which nothing fails.
  private static func states(
    _ base: MemoryDevice, _ operation: Operation
  ) throws -> (before: [String], after: [String]) {
    let volume = try Volume.mountForTest(base.copy())
    let before = try volume.stateLines()
    try operation.body(volume)
    let after = try volume.stateLines()
    try volume.unmount()
    return (before, after)
  }

  /// Lets read number `number` of the operation and of the commit after it fail. Returns whether
  /// there was one.
  private func faultIsMet(
    in operation: Operation, _ number: Int, _ duration: Duration, base: Base,
    allowed: [[String]]
  ) throws -> Bool {
    let what: Comment = "\(base.form): \(operation.name), read \(number) fails \(duration)"
    let device = try SimulatedDevice(base.device.copy())
    let volume = try Volume.mountForTest(device)
    Self.forgetBlocks(volume, base)
    device.fail(.init([.read], after: number, times: duration.times))
    let failed = errorNumber { try operation.body(volume) } != 0
    expectCommitsOrRefuses(volume, what)
    let isMet = device.failures > 0

    // With the fault, if it lasts, and then without.
    for round in 0..<2 {
      for more in 0..<10 {
        _ = errorNumber { try volume.makeFile("/more-\(round)-\(more)") }
        if more % 5 == 4 { expectCommitsOrRefuses(volume, what) }
      }
      device.heal()
    }
    if volume.transactions.failure == nil {
      try volume.synchronizeAll()
      #expect(volume.memory.references.used == 0, what)
      #expect(volume.memory.dirtyBlocks.used == 0, what)
      #expect(volume.memory.fileData.used == 0, what)
    }
    try? volume.unmount()

    let again = try Volume.mountForTest(device)
    let lines = try again.stateLines().filter { !$0.hasPrefix("/more") }
    // An operation that failed may have done a part of its work.
    if !failed { #expect(allowed.contains(lines), what) }
    try again.unmount()
    try base.judge(device.memory, again, what)
    if number % 16 == 0 { try CacheJudge.check(device.memory) }
    return isMet
  }

  /// A commit that fails says so by refusing all changes from then on.
  private func expectCommitsOrRefuses(_ volume: Volume, _ what: Comment) {
    // The first call may report data that could not be written back.
    guard errorNumber({ try volume.synchronizeAll() }) != 0,
      errorNumber({ try volume.synchronizeAll() }) != 0
    else { return }
    #expect(volume.transactions.failure != nil, what)
    // Looking for the directory may fail already.
    #expect(volume.transactions.refusal?.errno == EROFS, what)
    #expect(errorNumber { try volume.makeFile("/refused") } != 0, what)
  }

  /// One block of any tree cannot be read, for as long as the volume is mounted.
  @Test(arguments: [Form.v1, .blockGroupTree]) func oneUnreadableBlock(form: Form) throws {
    let base = try Self.base(form)
    let trees = Set(base.blocks.map(\.tree))
    #expect(base.blocks.count > 40 && trees.isSuperset(of: [.chunk, .uuid, .checksum]))
    #expect(trees.isSuperset(of: [.freeSpace, .blockGroup]) == (form == .blockGroupTree))
    // One block of each tree, and some of all.
    var met: Set<TreeID> = []
    let ofEach = base.blocks.filter { met.insert($0.tree).inserted }
    for block in ofEach + TestSeed.sample(base.blocks, form == .v1 ? 20 : 6) {
      let device = try SimulatedDevice(base.device.copy())
      let range = block.address..<(block.address + 4096)
      let what: Comment = "the block of tree \(block.tree) at \(block.address)"
      device.fail(.init([.read], in: [range]))
      let volume: Volume
      do {
        volume = try Volume.mountForTest(device)
        Self.forgetBlocks(volume, base)
      } catch {
        // Then it is one of those that a mount must have.
        continue
      }
      for operation in Self.operations { _ = errorNumber { try operation.body(volume) } }
      expectCommitsOrRefuses(volume, what)
      for more in 0..<60 {
        _ = errorNumber {
          let id = try volume.makeFile("/more-\(more)")
          try volume.writeBytes(id, at: 0, [UInt8](repeating: 1, count: 5000))
        }
        if more % 20 == 19 { expectCommitsOrRefuses(volume, what) }
      }
      let memory = volume.memory
      #expect(memory.references.used < memory.references.limit, what)
      try? volume.unmount()

      device.heal()
      let again = try Volume.mountForTest(device)
      _ = try again.stateLines()
      try again.unmount()
      try base.judge(device.memory, again, what)
    }
  }

  /// Takes what the mount has read out of memory, so that all is read again where it is needed.
  private static func forgetBlocks(_ volume: Volume, _ base: Base) {
    for block in base.blocks { volume.trees.context.cache.drop(block.logical) }
  }

  /// Where every block of every tree stands, on the device too.
  static func treeBlocks(
    of device: MemoryDevice
  ) throws -> [(tree: TreeID, logical: LogicalAddress, address: UInt64)] {
    let reader = try ImageReader(device: device)
    var found: [(tree: TreeID, logical: LogicalAddress, address: UInt64)] = []
    let trees: [TreeID] = [
      .root, .extent, .chunk, .device, .topLevel, .checksum, .uuid, .freeSpace, .blockGroup,
    ]
    for tree in trees {
      guard (try? reader.root(of: tree)) != nil else { continue }
      try reader.walkBlocks(reader.root(of: tree)) { (pointer, _) throws(FilesystemError) in
        let place = try reader.device.locate(pointer.address, length: 4096, copy: 0)
        found.append((tree, pointer.address, place.offset.rawValue))
        return true
      }
    }
    return found
  }

  /// A mount on which a read fails fails, or the volume is as good as ever.
  @Test(arguments: Form.allCases, Duration.allCases)
  func anyReadFailsWhileMounting(form: Form, duration: Duration) throws {
    let base = try Self.base(form).device
    let expected = try Self.states(base, Operation("nothing") { _ in }).before
    var number = 0
    while number < 1000 {
      defer { number += TestSeed.isThorough || number < 8 ? 1 : 1 + number / 5 }
      let device = try SimulatedDevice(base.copy())
      device.fail(.init([.read], after: number, times: duration.times))
      let volume = try? Volume.mountForTest(device)
      let isMet = device.failures > 0
      device.heal()
      if let volume {
        #expect(try volume.stateLines() == expected, "read \(number)")
        try volume.makeFile("/more")
        try volume.unmount()
      }
      let again = try Volume.mountForTest(device)
      let lines = try again.stateLines().filter { !$0.hasPrefix("/more") }
      #expect(lines == expected, "read \(number)")
      try again.unmount()
      if !isMet { return #expect(number > 3) }
    }
    Issue.record("a mount reads more than can be")
  }
}
