/// `ScaleWorkload` on an image of its own, in a mount with little memory, whose use is watched;
/// Linux judges the image in the end.
package struct ScaleOnImage {
  package struct Options: Sendable {
    package var work = ScaleWorkload.Options()
    /// For `cache=`.
    package var cacheMebibytes = 64
    /// What the process may take beside that; README says so.
    package var overheadMebibytes = 48
    /// Where the image is made.
    package var directory: String?

    package init() {}
  }

  private let options: Options
  private let report: (String) -> Void

  package init(_ options: Options, report: @escaping (String) -> Void = { say($0) }) {
    self.options = options
    self.report = report
  }

  package func run() throws {
    let place = try WorkloadPlace("scale.img", in: options.directory)
    defer { place.remove() }
    let (image, mountPoint) = (place.image, place.mountPoint)
    // A file takes about 800 bytes of metadata in two copies, and leaves fill by two thirds.
    let size = 4 + options.work.files / 400_000 + options.work.blocks / 100_000
    try FsmountProgram.run("mkfs", "--force", "--size", "\(size)G", image).orThrow()

    try mounted(image, mountPoint) { work in
      try work.makeFiles()
      try work.writeSparseFile()
    }
    try mounted(image, mountPoint) { work in
      try work.listFiles()
      try work.statFiles(of: 0)
      try work.readSome(min(options.work.files, 20_000))
      try work.verifySparseFile()
    }
    try judge(image, mountPoint)
    try mounted(image, mountPoint) { work in
      try work.removeSparseFile()
      try work.removeFiles(of: 0)
      try work.listFiles(without: [0])
    }
    try ImageCheck(image, timeout: 3600).expectSound()
  }

  /// Mounts, works, unmounts; the process must have kept to its memory at every step.
  private func mounted(
    _ image: String, _ mountPoint: String, _ body: (ScaleWorkload) throws -> Void
  ) throws {
    let limit = options.cacheMebibytes + options.overheadMebibytes
    let start = monotonicSeconds()
    let mount = try FsmountMount(
      image, at: mountPoint, options: "cache=\(options.cacheMebibytes)M", lifetime: 7200)
    defer { try? mount.unmount() }
    report("mount: \(tenths(monotonicSeconds() - start)) s")

    let work = ScaleWorkload(directory: BytePath(mountPoint), options: options.work) { timing in
      let memory = mount.memory
      report(
        "\(timing.what): \(timing.count) in \(tenths(timing.seconds)) s, "
          + "\(tenths(timing.microsecondsEach)) µs each; "
          + "memory \(memory.nowMebibytes) MiB, at most \(memory.peakMebibytes)")
      guard memory.peakMebibytes <= limit else {
        throw TestFailure(
          "\(timing.what): the process took \(memory.peakMebibytes) MiB with "
            + "cache=\(options.cacheMebibytes)M; \(limit) is the bound")
      }
    }
    try body(work)

    let end = monotonicSeconds()
    try mount.unmount()
    report("unmount: \(tenths(monotonicSeconds() - end)) s")
  }

  /// `btrfs check`, and as root the kernel, which must list and hold the same.
  private func judge(_ image: String, _ mountPoint: String) throws {
    let start = monotonicSeconds()
    try ImageCheck(image, timeout: 3600).expectSound()
    try FsmountProgram.run("cache", image, "--verify", timeout: 3600).orThrow()
    report("btrfs check: sound, \(tenths(monotonicSeconds() - start)) s")
    guard isRoot else { return report("SKIPPED: needs root, for a mount by the kernel") }

    let kernel = try LoopMount(image, at: mountPoint, options: LoopMount.kernelOptions + ",ro")
    defer { try? kernel.unmount() }
    let work = ScaleWorkload(directory: BytePath(mountPoint), options: options.work) { timing in
      report("the kernel: \(timing.what): \(timing.count) in \(tenths(timing.seconds)) s")
    }
    try work.listFiles()
    try work.readSome(min(options.work.files, 20_000))
    try work.verifySparseFile()
    try kernel.expectCleanLog()
    try kernel.unmount()
  }
}

private func tenths(_ value: Double) -> String {
  let number = Int((value * 10).rounded())
  return "\(number / 10).\(number % 10)"
}
