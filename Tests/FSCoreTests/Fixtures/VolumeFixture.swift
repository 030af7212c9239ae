import Glibc
import Logging
import Testing

@testable import FSCore

/// Image files of known content and the operations that tests make on them, by path.
extension Volume {
  static let testOwner = Credentials(uid: 0, gid: 0)

  /// Mounts an image quietly. The periodic commit is too far away to happen.
  static func mountForTest(
    _ device: any BlockDevice, _ configure: (inout VolumeOptions) -> Void = { _ in }
  ) throws -> Volume {
    var options = VolumeOptions()
    options.commitInterval = 3600
    options.cacheBytes = 64 << 20
    configure(&options)
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    return try mount(device: device, options: options, logger: logger)
  }

  /// The v1 caches of a volume that has them.
  var caches: CacheFiles { record as! CacheFiles }

  /// Expects that all invariants hold, those of whole trees too, right after a commit.
  func expectInvariants(_ what: Comment? = nil) {
    #expect(brokenInvariants() == [], what)
    #expect(throws: Never.self, what) { try trees.checkInvariants() }
  }

  func find(_ path: String) throws -> InodeID {
    var id = rootDirectory
    for name in Self.names(path) { id = try namespace.lookup(name, in: id).id }
    return id
  }

  private func parent(_ path: String) throws -> (InodeID, [UInt8]) {
    var names = Self.names(path)
    let last = names.removeLast()
    var id = rootDirectory
    for name in names { id = try namespace.lookup(name, in: id).id }
    return (id, last)
  }

  /// By bytes: to split a text takes longer than to make a file, where nothing is optimised.
  private static func names(_ path: String) -> [[UInt8]] {
    var (names, path) = ([[UInt8]](), path)
    path.withUTF8 { bytes in
      var rest = UnsafeRawBufferPointer(bytes)
      while let base = rest.baseAddress, rest.count > 0 {
        let slash = memchr(base, Int32(UInt8(ascii: "/")), rest.count)
        let count = slash.map { UnsafeRawPointer($0) - base } ?? rest.count
        if count > 0 { names.append(Array(rest.prefix(count))) }
        rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(count + 1))
      }
    }
    return names
  }

  @discardableResult
  func makeFile(_ path: String) throws -> InodeID {
    let (directory, name) = try parent(path)
    return try namespace.createNode(name, in: directory, mode: 0o100644, Self.testOwner).id
  }

  @discardableResult
  func makeDirectory(_ path: String) throws -> InodeID {
    let (directory, name) = try parent(path)
    return try namespace.makeDirectory(name, in: directory, mode: 0o755, Self.testOwner).id
  }

  /// Adds flags to those of an inode, whatever chattr(1) would say of it.
  func addFlags(_ id: InodeID, _ flags: InodeFlags) throws {
    let inode = try inodes.inode(id)
    try transactions.perform(reserving: 1) {
      (handle: borrowing TransactionHandle) throws(FilesystemError) in
      try inode.update(in: handle) { $0.flags.formUnion(flags) }
    }
  }

  func remove(_ path: String) throws {
    let (directory, name) = try parent(path)
    try namespace.unlink(name, in: directory)
  }

  func move(_ path: String, to newPath: String) throws {
    let (directory, name) = try parent(path)
    let (newDirectory, newName) = try parent(newPath)
    try namespace.rename(name, in: directory, to: newName, in: newDirectory, flags: [])
  }

  func writeBytes(_ id: InodeID, at offset: UInt64, _ bytes: [UInt8]) throws {
    let count = try bytes.withUnsafeBytes { try content.write(id, at: offset, $0) }
    if count != bytes.count { throw FilesystemError.corrupt("a short write") }
  }

  func readBytes(_ id: InodeID, at offset: UInt64, count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0xee, count: count)
    let done = try bytes.withUnsafeMutableBytes { try content.read(id, at: offset, into: $0) }
    if done < count { bytes.removeLast(count - done) }
    return bytes
  }

  /// Every name below the root with its attributes and a hash of its content: two volumes of
  /// equal state have equal lines.
  func stateLines() throws -> [String] {
    var lines: [String] = []
    func visit(_ id: InodeID, _ path: String) throws {
      var entries: [(name: [UInt8], id: InodeID)] = []
      try namespace.readDirectory(id, from: 0) { (record) throws(FilesystemError) in
        let name = Array(record.name)
        if name != Array(".".utf8), name != Array("..".utf8) { entries.append((name, record.id)) }
        return true
      }
      for entry in entries.sorted(by: { $0.name.lexicographicallyPrecedes($1.name) }) {
        let item = try attributes.attributes(of: entry.id).item
        let entryPath = path + "/" + String(decoding: entry.name, as: UTF8.self)
        var line = "\(entryPath) \(String(item.mode, radix: 8)) \(item.size) \(item.linkCount)"
        if item.isRegular {
          let bytes = try readBytes(entry.id, at: 0, count: Int(item.size))
          line += " \(bytes.withUnsafeBytes { FormatHash.crc32c($0) })"
        }
        lines.append(line)
        if item.isDirectory { try visit(entry.id, entryPath) }
      }
    }
    try visit(rootDirectory, "")
    return lines
  }
}

extension VolumeOptions {
  /// As `-o compress=` or, unless told otherwise, `-o compress-force=` has it; nil does not compress.
  mutating func compress(_ option: String?, isForced: Bool = true) {
    compression = option.flatMap { CompressionMethod(option: $0) }.map {
      CompressionChoice($0, isForced: isForced)
    }
  }
}

enum TestImage {
  /// A new file system in memory.
  static func make(
    sizeBytes: UInt64 = 1 << 30, _ configure: (inout MakeFilesystem.Options) -> Void = { _ in }
  ) throws -> MemoryDevice {
    let device = MemoryDevice(sizeBytes: sizeBytes)
    var options = MakeFilesystem.Options()
    configure(&options)
    _ = try MakeFilesystem.write(to: device, options: options)
    return device
  }
}
