import Glibc
import SimulatedDevices
import Synchronization
import TestSupport
import Testing

@testable import FSCore

/// `rm -r` beside listings of the same tree, with little memory, so that leaves are read from a
/// slow device while other threads change and free them.
@Suite(.timeLimit(.minutes(2))) struct ListingBesideRemovalTests {
  private static let directories = ["a", "b"]
  private static let count = 3000
  /// Directories that go as a whole.
  private static let doomed = (0..<4).map { "doomed-\($0)" }

  private static func name(_ number: Int) -> String {
    number % 4 == 0 ? "stays-\(number)" : "goes-\(number)"
  }

  private static func makeTree(_ device: MemoryDevice) throws {
    let volume = try Volume.mountForTest(device)
    for directory in directories {
      let id = try volume.makeDirectory("/" + directory)
      for number in 0..<count { try volume.file(name(number), in: id) }
    }
    for directory in doomed {
      let id = try volume.makeDirectory("/" + directory)
      for number in 0..<300 { try volume.file("goes-\(number)", in: id) }
    }
    try volume.unmount()
  }

  /// All of a directory, asked for as the kernel does it: piece by piece, the next leaves read
  /// ahead after each. Throws for a name that comes twice.
  private static func list(
    _ volume: Volume, _ directory: InodeID, piece: Int, withAttributes: Bool
  ) throws -> [String: Attributes?] {
    let last = try volume.namespace.lastEntry(of: directory)
    var found: [String: Attributes?] = [:]
    var twice: [String] = []
    var cookie: UInt64 = 0
    while twice.isEmpty {
      var left = piece
      var next = cookie
      try volume.namespace.readDirectory(
        directory, from: cookie, through: last, expecting: piece, withAttributes: withAttributes
      ) { (record) throws(FilesystemError) in
        guard left > 0 else { return false }
        left -= 1
        next = record.nextCookie
        let name = String(decoding: record.name, as: UTF8.self)
        if found.updateValue(record.attributes, forKey: name) != nil { twice.append(name) }
        return true
      }
      if left == piece { break }
      cookie = next
      volume.namespace.prefetchDirectory(directory, from: next)
    }
    guard twice.isEmpty else { throw TestFailure("\(twice) were listed twice") }
    return found
  }

  /// What `rm -r` does: lists, removes what it has found, and lists again until nothing is left.
  private static func empty(_ volume: Volume, _ directory: InodeID) throws {
    for _ in 0..<10 {
      let found = try list(volume, directory, piece: 500, withAttributes: false)
      let names = found.keys.filter { $0.hasPrefix("goes-") }.sorted()
      if names.isEmpty { return }
      for name in names { try volume.namespace.unlink(Array(name.utf8), in: directory) }
    }
    throw TestFailure("names that were removed are still listed")
  }

  private static func look(_ volume: Volume, _ round: Int) throws {
    for directory in directories {
      let withAttributes = round % 2 == 0
      let found = try list(
        volume, volume.find("/" + directory), piece: [64, 700][round % 2],
        withAttributes: withAttributes)
      for number in stride(from: 0, to: count, by: 4) {
        guard let attributes = found[name(number)] else {
          throw TestFailure("/\(directory) lacks \(name(number)) in a list of \(found.count)")
        }
        guard !withAttributes || attributes?.item.isRegular == true else {
          throw TestFailure("/\(directory)/\(name(number)) is listed without its attributes")
        }
      }
    }
    for directory in doomed {
      do {
        _ = try list(volume, volume.find("/" + directory), piece: 100, withAttributes: true)
      } catch FilesystemError.notFound {
        // It has gone before, or meanwhile.
      } catch FilesystemError.stale {
      }
    }
  }

  @Test(arguments: [nil, 4096] as [UInt64?])
  func nothingIsMissedOrListedTwice(nodeSize: UInt64?) throws {
    let memory = try TestImage.make { $0.nodeSize = nodeSize }
    try Self.makeTree(memory)
    let device = try SimulatedDevice(memory)
    device.delay(.read, microseconds: 50)
    let volume = try Volume.mountForTest(device) { $0.cacheBytes = 4 << 20 }
    let working = Atomic(3)

    try onThreads(7) { thread in
      switch thread {
      case 0, 1:
        defer { working.subtract(1, ordering: .sequentiallyConsistent) }
        try Self.empty(volume, volume.find("/" + Self.directories[thread]))
      case 2:
        defer { working.subtract(1, ordering: .sequentiallyConsistent) }
        for directory in Self.doomed {
          try Self.empty(volume, volume.find("/" + directory))
          try volume.namespace.removeDirectory(Array(directory.utf8), in: volume.rootDirectory)
          // New names at the end of the others split leaves.
          for number in 0..<100 { try volume.makeFile("/a/new-\(directory)-\(number)") }
        }
      case 3:
        while working.load(ordering: .relaxed) > 0 { try volume.synchronizeAll() }
      default:
        var round = thread
        while working.load(ordering: .relaxed) > 0 || round < thread + 2 {
          try Self.look(volume, round)
          round += 1
        }
      }
    }

    let left = try Self.list(volume, volume.find("/a"), piece: 64, withAttributes: false).count
    #expect(left == 2 + Self.count / 4 + 400)
    #expect(try volume.names(volume.rootDirectory).sorted() == Self.directories)
    try volume.unmount()
    let directory = try TemporaryDirectory(inMemory: true)
    try memory.save(to: directory.file("image"))
    try ImageCheck.expectSound(directory.file("image"))
  }
}
