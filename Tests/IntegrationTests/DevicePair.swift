import Glibc
import TestSupport

/// A file system of two devices, made and filled by Linux. Needs root.
final class DevicePair {
  let images: [String]
  private let directory: TemporaryDirectory
  private let mountPoint: String

  /// - Parameter options: of mkfs.btrfs.
  init(_ options: String...) throws {
    directory = try TemporaryDirectory(inMemory: true)
    images = [directory.file("first"), directory.file("second")]
    mountPoint = try directory.directory("mount")
    for image in images { try Shell.run("truncate", "-s", "256M", image).orThrow() }
    try withLoopDevices { devices in
      try Shell.run(
        ["mkfs.btrfs", "-q", "-f", "-R", "^free-space-tree"] + options + devices
      ).orThrow()
    }
  }

  /// Writes a file `small`, which is inline, and others, so many that there are some on each
  /// device; returns the names of those.
  func populate() throws -> [String] {
    let names = (0..<30).map { "file-\($0)" }
    try withLoopDevices { devices in
      let options = devices.map { "device=\($0)" }.joined(separator: ",")
      try Shell.run("mount", "-t", "btrfs", "-o", options, devices[0], mountPoint).orThrow()
      defer { _ = try? unmountWhenIdle { try Shell.run("umount", mountPoint) } }
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
      defer { buffer.deallocate() }
      func write(_ name: String, seed: UInt64, length: Int) throws {
        try SelfVerifyingFile.write(
          BytePath(mountPoint).appending(name), seed: TestSeed.of(seed), length: length,
          buffer: buffer)
      }
      try write("small", seed: 1, length: 1000)
      for (index, name) in names.enumerated() {
        // One at a time, as what is written together is placed together.
        try write(name, seed: UInt64(index + 2), length: buffer.count)
        if index % 3 == 0 { try syncFileSystem(mountPoint) }
      }
    }
    return names
  }

  private func withLoopDevices(_ body: ([String]) throws -> Void) throws {
    var devices: [String] = []
    defer {
      for device in devices {
        // The kernel would remember it as part of this file system.
        _ = try? Shell.run("btrfs", "device", "scan", "--forget", device)
        _ = try? Shell.run("losetup", "-d", device)
      }
    }
    for image in images {
      let output = try Shell.run("losetup", "-f", "--show", image).orThrow().output
      devices.append(String(output.prefix { $0 != "\n" }))
    }
    try body(devices)
  }
}
