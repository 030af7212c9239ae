import Glibc

/// Thousands of snapshots of one subvolume, in a mount with little memory. Linux has made them, or
/// the mount does. Each is entered, and a file is changed in some. Memory keeps to its bound, a
/// commit costs what was changed however many snapshots there are, and Linux judges the image.
package struct SnapshotsOnImage {
  package struct Options: Sendable {
    package var snapshots = 5_000
    /// The mount makes them, and deletes all but every third in the end.
    package var areOwn = false
    /// In how many of them a file is changed.
    package var changed = 300
    package var filesEach = 200
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
    let place = try WorkloadPlace("snapshots.img", in: options.directory)
    defer { place.remove() }
    let (image, mountPoint) = (place.image, place.mountPoint)
    let root = place.root
    try makeImage(image, mountPoint)

    let mount = try FsmountMount(
      image, at: mountPoint, options: "cache=\(options.cacheMebibytes)M", lifetime: 3600)
    defer { try? mount.unmount() }
    let first = try commitSeconds(root)
    if options.areOwn { try makeOwn(mount, mountPoint) }
    try measured("enter", options.snapshots, mount) {
      for number in 0..<options.snapshots { try verify(root, number, isChanged: false) }
    }
    try measured("change a file", options.changed, mount) {
      for (count, number) in changed.enumerated() {
        try writeFile(path(root, number, file: 1), content(number, isChanged: true))
        if count % 10 == 9 { try mount.sync() }
      }
    }
    let last = try commitSeconds(root)
    report("a commit: \(milliseconds(first)) ms at first, \(milliseconds(last)) ms in the end")
    guard last < 2 * first + 0.005 else {
      throw TestFailure("commits have become slower with the snapshots that were entered")
    }
    try measured("enter again", options.snapshots, mount) { try verifyAll(root) }
    if options.areOwn { try deleteOwn(mount, mountPoint) }
    try mount.unmount()

    try ImageCheck(image, timeout: 3600).expectSound()
    try FsmountProgram.verifyCache(image)
    let kernel = try LoopMount(image, at: mountPoint, options: LoopMount.kernelOptions + ",ro")
    defer { try? kernel.unmount() }
    if options.areOwn { try verifyKept(root) } else { try verifyAll(root) }
    try kernel.expectCleanLog()
    try kernel.unmount()
  }

  /// The numbers of the snapshots that are changed, evenly spread.
  private var changed: [Int] {
    (0..<options.changed).map { $0 * options.snapshots / options.changed }
  }

  private func makeImage(_ image: String, _ mountPoint: String) throws {
    var variant = ImageVariant(name: "snapshots")
    variant.size = "8G"
    try variant.makeWithKernelTools(image)
    let start = monotonicSeconds()
    let kernel = try LoopMount(image, at: mountPoint)
    defer { try? kernel.unmount() }
    let base = "\(mountPoint)/base"
    try Shell.run("btrfs", "subvolume", "create", base).orThrow()
    for file in 0..<options.filesEach {
      try writeFile(BytePath("\(base)/file-\(file)"), content(file, isChanged: false))
    }
    if !options.areOwn { try makeSnapshots(options.snapshots, of: base, in: mountPoint) }
    try kernel.unmount()
    if options.areOwn { return }
    report(
      "\(options.snapshots) snapshots by Linux in \(rounded(monotonicSeconds() - start)) s")
  }

  private func makeOwn(_ mount: FsmountMount, _ mountPoint: String) throws {
    var times: [Double] = []
    try measured("snapshots", options.snapshots, mount) {
      for number in 0..<options.snapshots {
        let start = monotonicSeconds()
        try makeSnapshot("s\(number)", of: "\(mountPoint)/base", in: mountPoint)
        times.append(monotonicSeconds() - start)
      }
    }
    let part = min(times.count, 200)
    let (early, late) = (median(times.prefix(part)), median(times.suffix(part)))
    report(
      "a snapshot: \(milliseconds(early)) ms at first, \(milliseconds(late)) ms in the end")
    guard late < 2 * early + 0.005 else {
      throw TestFailure("snapshots have become slower with their number")
    }
  }

  private func median(_ times: ArraySlice<Double>) -> Double { times.sorted()[times.count / 2] }

  private func deleteOwn(_ mount: FsmountMount, _ mountPoint: String) throws {
    try measured("delete", options.snapshots - options.snapshots / 3, mount) {
      for number in 0..<options.snapshots where !isKept(number) {
        try deleteSubvolume("s\(number)", in: mountPoint)
      }
    }
  }

  private func isKept(_ number: Int) -> Bool { number % 3 == 0 }

  private func verifyKept(_ root: BytePath) throws {
    let changed = Set(changed)
    for number in 0..<options.snapshots {
      if isKept(number) {
        try verify(root, number, isChanged: changed.contains(number))
      } else if (try? verify(root, number, isChanged: false)) != nil {
        throw TestFailure("\(path(root, number, file: 0)) is there still")
      }
    }
  }

  private func path(_ root: BytePath, _ number: Int, file: Int) -> BytePath {
    root.appending("s\(number)/file-\(file)")
  }

  /// What a file that is not changed holds follows from its own number, else from its snapshot's.
  private func content(_ number: Int, isChanged: Bool) -> [UInt8] {
    Array("\(isChanged ? "snapshot" : "file") \(number)\n".utf8)
  }

  private func verify(_ root: BytePath, _ number: Int, isChanged: Bool) throws {
    for file in [0, 1] {
      let isNew = isChanged && file == 1
      let found = try readFile(path(root, number, file: file))
      guard found == content(isNew ? number : file, isChanged: isNew) else {
        throw TestFailure("\(path(root, number, file: file)) holds something else")
      }
    }
  }

  private func verifyAll(_ root: BytePath) throws {
    let changed = Set(changed)
    for number in 0..<options.snapshots {
      try verify(root, number, isChanged: changed.contains(number))
    }
  }

  /// The median time of a commit that has to write one small file of the top level.
  private func commitSeconds(_ root: BytePath) throws -> Double {
    let path = root.appending("small")
    let file = try check("open \(path)") { path.withCPath { open($0, O_CREAT | O_RDWR, 0o644) } }
    defer { close(file) }
    var times: [Double] = []
    for number in 0..<31 {
      try check("write") { pwrite(file, content(number, isChanged: false), 6, 0) }
      let start = monotonicSeconds()
      try check("fsync") { fsync(file) }
      times.append(monotonicSeconds() - start)
    }
    return times.sorted()[times.count / 2]
  }

  private func measured(
    _ what: String, _ count: Int, _ mount: FsmountMount, _ body: () throws -> Void
  ) throws {
    let start = monotonicSeconds()
    try body()
    let memory = mount.memory
    report(
      "\(what): \(count) in \(rounded(monotonicSeconds() - start)) s; memory "
        + "\(memory.nowMebibytes) MiB, at most \(memory.peakMebibytes)")
    let limit = options.cacheMebibytes + options.overheadMebibytes
    guard memory.peakMebibytes <= limit else {
      throw TestFailure(
        "\(what): the process took \(memory.peakMebibytes) MiB with "
          + "cache=\(options.cacheMebibytes)M; \(limit) is the bound")
    }
  }

  private func milliseconds(_ seconds: Double) -> String { rounded(seconds * 1000) }
}
