import Glibc
import TestSupport

@testable import FSCore

/// What the kernel sees in an image: the lines that `Volume.stateLines` has for the same state.
enum KernelState {
  /// Mounts the image by the kernel, which may find nothing to complain about.
  static func lines(
    of image: String, in directory: TemporaryDirectory, hasFreeSpaceTree: Bool = false,
    moreOptions: String = ""
  ) throws -> [String] {
    let mounted = try LoopMount(
      image, at: directory.file("kernel"),
      options: (hasFreeSpaceTree ? "noatime" : LoopMount.kernelOptions) + moreOptions)
    defer { try? mounted.unmount() }
    var lines: [String] = []
    try visit(BytePath(mounted.directory), "", &lines)
    try mounted.unmount()
    try mounted.expectCleanLog()
    return lines
  }

  private static func visit(_ path: BytePath, _ name: String, _ lines: inout [String]) throws {
    let names = try directoryNames(path).sorted { $0.lexicographicallyPrecedes($1) }
    for entry in names {
      let child = path.appending(entry)
      var status = stat()
      try check("stat \(child)") { child.withCPath { lstat($0, &status) } }
      let childName = name + "/" + String(decoding: entry, as: UTF8.self)
      let mode = String(status.st_mode, radix: 8)
      var line = "\(childName) \(mode) \(status.st_size) \(status.st_nlink)"
      if status.st_mode & S_IFMT == S_IFREG {
        line += " \(try readFile(child).withUnsafeBytes { FormatHash.crc32c($0) })"
      }
      lines.append(line)
      if status.st_mode & S_IFMT == S_IFDIR { try visit(child, childName, &lines) }
    }
  }
}
