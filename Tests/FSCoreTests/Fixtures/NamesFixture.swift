import Glibc
import TestSupport

@testable import FSCore

/// An image in a file, so that `btrfs check` can judge it, and the mount of it.
final class NamesFixture {
  let directory: TemporaryDirectory
  let image: String
  private let device: FileDevice
  private(set) var volume: Volume

  init(nodeSize: UInt64? = nil, sizeBytes: UInt64 = 1 << 30) throws {
    directory = try TemporaryDirectory(inMemory: true)
    image = directory.file("image")
    let descriptor = open(image, O_RDWR | O_CREAT, 0o600)
    guard descriptor >= 0, ftruncate(descriptor, off_t(sizeBytes)) == 0 else {
      throw FilesystemError.cannotMount(image)
    }
    close(descriptor)

    device = try FileDevice(path: image, readOnly: false)
    var options = MakeFilesystem.Options()
    options.nodeSize = nodeSize
    _ = try MakeFilesystem.write(to: device, options: options)
    volume = try Volume.mountForTest(device)
  }

  /// Mounts an image that somebody else has made.
  init(image: String, directory: TemporaryDirectory) throws {
    self.directory = directory
    self.image = image
    device = try FileDevice(path: image, readOnly: false)
    volume = try Volume.mountForTest(device)
  }

  var root: InodeID { volume.rootDirectory }

  /// Unmounts and mounts again.
  func remount(_ configure: (inout VolumeOptions) -> Void = { _ in }) throws {
    try volume.unmount()
    volume = try Volume.mountForTest(device, configure)
  }

  /// Mounts what is not mounted.
  func mountAgain(_ configure: (inout VolumeOptions) -> Void = { _ in }) throws -> Volume {
    volume = try Volume.mountForTest(device, configure)
    return volume
  }

  /// What a power cut leaves: the last commit, mounted on a copy of the image.
  func afterCrash() throws -> NamesFixture {
    let other = try TemporaryDirectory(inMemory: true)
    let copy = other.file("image")
    _ = try Shell.run("cp", "--sparse=always", image, copy)
    return try NamesFixture(image: copy, directory: other)
  }

  /// Unmounts, and lets `btrfs check` look at every structure.
  func unmountAndCheck() throws {
    try volume.unmount()
    try ImageCheck.expectSound(image)
  }
}

extension Volume {
  func names(_ id: InodeID) throws -> [String] {
    var names: [String] = []
    try namespace.readDirectory(id, from: 0) { (record) throws(FilesystemError) in
      names.append(String(decoding: record.name, as: UTF8.self))
      return true
    }
    return names.filter { $0 != "." && $0 != ".." }
  }

  @discardableResult
  func file(_ name: String, in directory: InodeID, mode: UInt32 = 0o100644) throws -> InodeID {
    try namespace.createNode(Array(name.utf8), in: directory, mode: mode, Self.testOwner).id
  }

  @discardableResult
  func directory(_ name: String, in directory: InodeID) throws -> InodeID {
    try namespace.makeDirectory(Array(name.utf8), in: directory, mode: 0o755, Self.testOwner).id
  }

  func id(_ name: String, in directory: InodeID) throws -> InodeID {
    try namespace.lookup(Array(name.utf8), in: directory).id
  }

  func item(_ id: InodeID) throws -> InodeItem { try attributes.attributes(of: id).item }
}

extension Namespace {
  func rename(
    _ name: String, in directory: InodeID, to newName: String, in newDirectory: InodeID,
    flags: RenameFlags = []
  ) throws {
    try rename(
      Array(name.utf8), in: directory, to: Array(newName.utf8), in: newDirectory, flags: flags)
  }
}

/// The error number that `body` ends with; 0 when it succeeds.
func errorNumber<R>(_ body: () throws -> R) -> Int32 {
  do {
    _ = try body()
    return 0
  } catch let error as FilesystemError {
    return error.errno
  } catch {
    return -1
  }
}

extension [UInt8] {
  /// As `==`, but quick on long arrays where nothing is optimised.
  func isSame(as other: [UInt8]) -> Bool {
    guard count == other.count, count > 0 else { return count == other.count }
    return memcmp(self, other, count) == 0
  }
}

/// Names that all have the same hash, begin with `prefix`, and are `length` bytes long.
func collidingNames(_ count: Int, prefix: String, length: Int) -> [[UInt8]] {
  let hash: UInt32 = 0x1234_5678
  var names: [[UInt8]] = []
  var number = 0
  while names.count < count {
    var name = Array((prefix + String(number)).utf8)
    number += 1
    while name.count < length - 4 { name.append(UInt8(ascii: "-")) }

    // The last four bytes are those that turn the state after the others into the hash.
    let state = name.withUnsafeBytes { FormatHash.update(0xffff_fffe, $0) }
    var before = hash
    for _ in 0..<32 {
      before = before >> 31 == 1 ? (before ^ 0x82f6_3b78) << 1 | 1 : before << 1
    }
    let tail = state ^ before
    let bytes = (0..<4).map { UInt8(truncatingIfNeeded: tail >> ($0 * 8)) }
    guard !bytes.contains(0), !bytes.contains(UInt8(ascii: "/")) else { continue }
    names.append(name + bytes)
  }
  return names
}
