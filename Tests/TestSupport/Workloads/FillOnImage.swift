/// `FillWorkload` on an image of its own, judged by `btrfs check` and as root by Linux.
package struct FillOnImage {
  package struct Options: Sendable {
    package var work = FillWorkload.Options()
    package var size = "1G"
    /// For `fsmount mkfs`.
    package var makeOptions: [String] = []
    /// The image is of this form, and statvfs has to be right about what is available.
    package var form: FillForm? {
      didSet {
        guard let form else { return }
        size = form.size
        makeOptions = form.makeOptions
        work.largest = form.largest
      }
    }
    package var mountOptions = ""
    /// After so many rounds the image is judged, and mounted anew.
    package var judgedEvery = 10
    /// Where the image is made.
    package var directory: String?
    /// How long one mount may take.
    package var lifetime = 3600.0

    package init() {}
  }

  private let options: Options
  private let report: (String) -> Void

  package init(_ options: Options, report: @escaping (String) -> Void = { say($0) }) {
    self.options = options
    self.report = report
  }

  package func run() throws {
    let place = try WorkloadPlace("fill.img", in: options.directory)
    defer { place.remove() }
    let (image, mountPoint) = (place.image, place.mountPoint)
    try FsmountProgram.run(
      ["mkfs", "--force", "--size", options.size] + options.makeOptions + [image]
    ).orThrow()

    let work = FillWorkload(directory: BytePath(mountPoint), options: options.work)
    var round = 0
    while round < options.work.rounds {
      let last = min(round + options.judgedEvery, options.work.rounds)
      try mounted(image, mountPoint) {
        if round == 0 {
          try compareAvailable(mountPoint, "the empty volume")
          try work.begin()
        } else {
          try work.verify()
        }
        for number in round..<last {
          try work.fill(round: number)
          try work.remove(oneIn: 2, round: number)
          try work.overwrite(round: number)
        }
        try work.fill(round: last + 100_000)
      }
      round = last
      try ImageCheck.expectSound(image)
      try FsmountProgram.verifyCache(image)
      if isRoot { try readByKernel(image, mountPoint, work) }
      try mounted(image, mountPoint) {
        try work.verify()
        try work.remove(oneIn: 3, round: round + 200_000)
        try work.remove(oneIn: 3, round: round + 250_000)
        try compareAvailable(mountPoint, "half full, with holes")
      }
    }

    // What was full can be emptied, and used again.
    try mounted(image, mountPoint) { try work.remove(oneIn: 1, round: round) }
    try ImageCheck.expectSound(image)
    try mounted(image, mountPoint) { try work.fill(round: round + 300_000) }
    let counts = work.counts
    report(
      "fill: \(round) rounds, \(counts.files) files, \(counts.bytes >> 20) MiB, "
        + "\(counts.refusals) refusals (\(counts.refusedInPreallocated) in preallocated space), "
        + "\(counts.removed) removed, \(counts.cut) cut off, all right")
  }

  private func mounted(_ image: String, _ mountPoint: String, _ body: () throws -> Void) throws {
    let mount = try FsmountMount(
      image, at: mountPoint, options: options.mountOptions, lifetime: options.lifetime)
    defer { try? mount.unmount() }
    do {
      try body()
      // What was kept for writes and changes was enough for all of them.
      let stats = try FsmountProgram.run("stats", mountPoint).orThrow().output
      let overdrafts = stats.split(separator: "\n").filter { $0.contains("overdrafts") }
      guard overdrafts.count == 1, overdrafts[0].hasSuffix(" none") else {
        throw TestFailure("reservations were exceeded: \(overdrafts)")
      }
    } catch {
      throw TestFailure("\(error)\n\(mount.messages)")
    }
    try mount.unmount()
    let lost = mount.messages.split(separator: "\n").filter {
      $0.contains("lost") || $0.contains("read-only") || $0.contains("no space for a block")
    }
    guard lost.isEmpty else { throw TestFailure(lost.prefix(10).joined(separator: "\n")) }
  }

  /// What is called available can be written, and not much more.
  private func compareAvailable(_ mountPoint: String, _ when: String) throws {
    guard let form = options.form else { return }
    // What was deleted counts when that is durable.
    try FsmountProgram.run("sync", mountPoint, timeout: 120).orThrow()
    let available = try AvailableSpace(in: BytePath(mountPoint))
    try available.expectTrue(within: form.tolerance(available: available.announced), when)
    report(
      "\(form), \(when): \(available.announced >> 10) KiB available, "
        + "\(available.written >> 10) KiB written")
  }

  private func readByKernel(
    _ image: String, _ mountPoint: String, _ work: FillWorkload
  ) throws {
    let hasTree = options.makeOptions.contains { $0 == "v2" || $0 == "--block-group-tree" }
    let kernel = try LoopMount(
      image, at: mountPoint,
      options: hasTree ? "space_cache=v2,noatime,ro" : LoopMount.kernelOptions + ",ro")
    defer { try? kernel.unmount() }
    try work.verify()
    try kernel.expectCleanLog()
    try kernel.unmount()
  }
}
