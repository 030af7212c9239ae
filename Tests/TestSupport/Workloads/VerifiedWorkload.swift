import Glibc

/// What `make demo` shows: random work of several kinds on a mounted directory, all of it verified.
/// Leaves a tree of files behind, so that there is something to look at afterwards.
package struct VerifiedWorkload {
  private let root: BytePath
  private let seed: UInt64
  private let report: (String) -> Void

  package init(
    directory: BytePath, seed: UInt64, report: @escaping (String) -> Void = { say($0) }
  ) {
    root = directory
    self.seed = seed
    self.report = report
  }

  package func run(seconds: Double = 4, files: Int = 1_500) throws {
    let start = monotonicSeconds()
    try measured("one file") {
      var options = FsxOptions(seed: seed)
      options.operations = 10_000
      let fsx = try FsxModel(directory: root, options: options)
      try fsx.run()
      return "10000 operations, every byte compared with a model"
    }
    try measured("many threads") {
      var options = StressWorkload.Options()
      options.seed = seed
      options.seconds = seconds
      let count = try StressWorkload(directory: root, options: options).run()
      return "\(count) operations by \(options.threads) threads in shared directories"
    }
    try measured("a tree") { try growTree(files) }
    try syncFileSystem(root.string)
    report("  all verified in \(tenths(monotonicSeconds() - start)) s (seed \(seed))")
  }

  private func measured(_ name: String, _ body: () throws -> String) throws {
    let start = monotonicSeconds()
    let result = try body()
    let padding = String(repeating: " ", count: max(0, 14 - name.count))
    report("  \(name)\(padding)\(result), \(tenths(monotonicSeconds() - start)) s")
  }

  private func tenths(_ value: Double) -> String {
    let number = Int((value * 10).rounded())
    return "\(number / 10).\(number % 10)"
  }

  /// Files by the hundred, rewritten, renamed and removed at random; then all that should be left
  /// is left, and right, and nothing else is there.
  private func growTree(_ count: Int) throws -> String {
    var random = SeededRandom(seed: seed)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { buffer.deallocate() }
    let top = root.appending("tree")
    try check("mkdir \(top)") { top.withCPath { mkdir($0, 0o755) } }
    let folders = (0..<12).map { top.appending("folder-\($0)") }
    for folder in folders {
      try check("mkdir \(folder)") { folder.withCPath { mkdir($0, 0o755) } }
    }
    func length() -> Int {
      SelfVerifyingFile.headerSize + random.below(random.oneIn(3) ? 200_000 : 8_000)
    }
    var present: [BytePath] = []
    for number in 0..<count {
      let path = random.pick(folders).appending("file-\(number)")
      try SelfVerifyingFile.write(path, seed: random.next(), length: length(), buffer: buffer)
      present.append(path)
    }
    var renamed = 0
    for index in present.indices where random.oneIn(3) {
      let target = random.pick(folders).appending("renamed-\(index)")
      let source = present[index]
      try check("rename \(source)") {
        source.withCPath { source in target.withCPath { rename(source, $0) } }
      }
      present[index] = target
      renamed += 1
    }
    var rewritten = 0
    for path in present where random.oneIn(4) {
      try SelfVerifyingFile.write(path, seed: random.next(), length: length(), buffer: buffer)
      rewritten += 1
    }
    present.shuffle(using: &random)
    let removed = present.suffix(count / 3)
    for path in removed { try check("unlink \(path)") { path.withCPath { unlink($0) } } }
    present.removeLast(removed.count)
    try verify(present, folders, buffer)
    return "\(count) files, \(renamed) renamed, \(rewritten) rewritten, \(removed.count) removed"
  }

  private func verify(
    _ present: [BytePath], _ folders: [BytePath], _ buffer: UnsafeMutableRawBufferPointer
  ) throws {
    for path in present where try !SelfVerifyingFile.verify(path, buffer: buffer) {
      throw TestFailure("\(path) is missing")
    }
    var listed: Set<BytePath> = []
    for folder in folders {
      listed.formUnion(try directoryNames(folder).map { folder.appending($0) })
    }
    guard listed == Set(present) else {
      let wrong = listed.symmetricDifference(present).sorted().prefix(5)
      throw TestFailure("the directories do not list what is in them: \(Array(wrong))")
    }
  }
}
