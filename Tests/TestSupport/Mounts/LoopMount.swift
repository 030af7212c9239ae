import Glibc

/// An image mounted by the kernel's btrfs through a loop device. Needs root.
package final class LoopMount: MountedImage {
  package let image: String
  package let directory: String
  /// `loop3`, as the kernel's log names it.
  package let device: String
  package let log = KernelLog()
  private var isMounted = true
  private let options: String

  /// What the kernel says because it was asked to give a record of free space up.
  private static let saidOfClearing = [
    "force clearing of disk cache", "rebuilding free space tree", "cleaning free space cache v1",
    "clearing compat-ro feature flag",
  ]

  package static let kernelOptions = "space_cache=v1,noatime"

  package init(
    _ image: String, at directory: String, options: String = LoopMount.kernelOptions,
    type: String = "btrfs"
  ) throws {
    self.image = image
    self.options = options
    self.directory = directory
    mkdir(directory, 0o755)
    let all = options.isEmpty ? "loop" : "loop,\(options)"
    let result = try Shell.run("mount", "-t", type, "-o", all, image, directory)
    guard result.succeeded else {
      let said = log.all(device: "BTRFS").joined(separator: "\n")
      throw TestFailure("the kernel does not mount \(image): \(result.summary)\n\(said)")
    }
    device =
      MountTableEntry.at(directory)?.source.split(separator: "/").last.map(String.init) ?? "?"
  }

  package func sync() throws { try syncFileSystem(directory) }

  package func unmount() throws {
    guard isMounted else { return }
    isMounted = false
    let result = try unmountWhenIdle { try Shell.run("umount", directory) }
    guard result.succeeded else {
      _ = try Shell.run("umount", "-l", directory)
      throw TestFailure(result.summary)
    }
    waitUntilDetached()
  }

  /// The loop device is let go of a little later where somebody looks at it just then, and as long as it is
  /// there fsmount refuses the image.
  private func waitUntilDetached() {
    for _ in 0..<500 {
      let file = readText("/sys/block/\(device)/loop/backing_file").split(separator: "\n").first
      guard let file, file == image else { return }
      usleep(10_000)
    }
  }

  /// Throws if the kernel found anything to say against the image so far, caches apart that were
  /// known to be in doubt.
  package func expectCleanLog(tolerated: Set<Int> = []) throws {
    let expected = options.contains("clear_cache") ? Self.saidOfClearing : []
    let complaints = log.complaints(device: device).filter { line in
      if expected.contains(where: { line.contains($0) }) { return false }
      guard let group = blockGroup(inCacheComplaint: line) else { return true }
      return !tolerated.contains(group)
    }
    guard complaints.isEmpty else {
      throw TestFailure(
        "the kernel complains about \(image):\n" + complaints.joined(separator: "\n"))
    }
  }

  deinit { try? unmount() }
}
