import ArgumentParser
import CCodecs
import Glibc
import Synchronization
import TestSupport

struct CompressionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compression",
    abstract: "Measures writing and reading compressed files beside zstd and the kernel's btrfs.",
    discussion: """
      Prints a table in Markdown, of text: the headers of this machine, over and over. Medians of \
      several repetitions, interleaved, in memory. Writing is in blocks of 1 MiB, with fsync at the \
      end; reading is of one file, which fsmount wrote, on a fresh mount. 'zstd -T2 -3' is the program, \
      which reads a file and whose output goes nowhere. Below it, and below reading, is what the \
      compression's library does alone, on two threads, from memory to memory: no file system can \
      be faster with it.
      """)

  @Option(help: "Size of the file in MiB.")
  var megabytes = 512

  @Option(help: "Repetitions, of which the median counts.")
  var repetitions = 5

  @Option(help: "What mounts are told: compress=….")
  var compress = "zstd:3"

  @Flag(
    help: "Fail when writing is below 0.9 of zstd's rate, or reading below 1.5 of the kernel's.")
  var strict = false

  private enum Row: String, CaseIterable {
    case program = "zstd -T2 -3, pieces of 128 KiB"
    case library = "the library alone compresses, two threads"
    case write = "fsmount, sequential write"
    case kernelWrite = "kernel btrfs, sequential write"
    case read = "fsmount, sequential read"
    case kernelRead = "kernel btrfs, sequential read of the same file"
    case libraryRead = "the library alone decompresses, two threads"
  }

  func run() throws {
    let directory = try TemporaryDirectory(inMemory: true)
    let source = directory.file("text")
    let text = try Self.text(bytes: megabytes << 20)
    defer { text.deallocate() }
    try Self.write(text, to: source)

    let library = try LibraryAlone(compress)
    try library.prepare(text)

    var rates: [Row: [Double]] = [:]
    func measure(_ row: Row, _ body: () throws -> Void) throws {
      let start = monotonicSeconds()
      try body()
      rates[row, default: []].append(Double(text.count) / (monotonicSeconds() - start) / 1e6)
    }

    for repetition in 1...repetitions {
      if let zstd = Shell.find("zstd") {
        try measure(.program) {
          try Shell.run(
            "sh", "-c", "exec \(zstd) -q -T2 -3 -B131072 -c '\(source)' > /dev/null", timeout: 300
          ).orThrow()
        }
      }
      try measure(.library) { try library.compress(text) }
      try measure(.libraryRead) { try library.decompress() }
      let image = directory.file("image")
      try pass(.fsmount, image, directory, text, read: .read, measure) { body in
        try measure(.write, body)
      }
      if isRoot {
        try readByKernel(image, directory) { body in try measure(.kernelRead, body) }
        try pass(.kernel, image, directory, text, read: nil, measure) { body in
          try measure(.kernelWrite, body)
        }
      }
      standardError("repetition \(repetition) of \(repetitions) done")
    }
    try report(rates.compactMapValues(\.median))
  }

  private func report(_ medians: [Row: Double]) throws {
    var rows = [["compress=\(compress)", "MB/s", "beside zstd -T2", "beside the kernel's"]]
    for row in Row.allCases {
      guard let rate = medians[row] else { continue }
      let zstd = row == .write ? medians[.program] : nil
      let kernel = row == .write ? medians[.kernelWrite] : row == .read ? medians[.kernelRead] : nil
      rows.append([
        row.rawValue, MarkdownTable.grouped(rate),
        zstd.map { "\(MarkdownTable.ratio(rate / $0))×" } ?? "",
        kernel.map { "\(MarkdownTable.ratio(rate / $0))×" } ?? "",
      ])
    }
    say(MarkdownTable.text(rows, leftAligned: 1))
    guard strict else { return }
    if let write = medians[.write], let zstd = medians[.program], write < 0.9 * zstd {
      throw ExitCode.failure
    }
    if let read = medians[.read], let kernel = medians[.kernelRead], read < 1.5 * kernel {
      throw ExitCode.failure
    }
  }

  private func pass(
    _ kind: MountKind, _ image: String, _ directory: TemporaryDirectory,
    _ text: UnsafeMutableRawBufferPointer, read: Row?,
    _ measure: (Row, () throws -> Void) throws -> Void,
    write: (() throws -> Void) throws -> Void
  ) throws {
    unlink(image)
    try Shell.run("truncate", "-s", "\(megabytes * 2 + 1024)M", image).orThrow()
    let mountPoint = directory.file("mount")
    switch kind {
    case .fsmount: try FsmountProgram.run("mkfs", "--force", image).orThrow()
    case .kernel:
      try Shell.run("mkfs.btrfs", "-q", "-f", "-R", "^free-space-tree", image).orThrow()
    }
    let usual = kind == .kernel ? LoopMount.kernelOptions : "noatime"
    var mounted = try kind.mount(
      image, at: mountPoint, options: usual + ",compress=\(compress)")
    do {
      defer { try? mounted.unmount() }
      try write { try Self.write(text, to: mountPoint + "/text") }
      try mounted.unmount()
    }
    guard let read else { return }
    mounted = try kind.mount(image, at: mountPoint, options: usual)
    defer { try? mounted.unmount() }
    try measure(read) { try Self.read(mountPoint + "/text", count: text.count) }
    try mounted.unmount()
  }

  private func readByKernel(
    _ image: String, _ directory: TemporaryDirectory, measure: (() throws -> Void) throws -> Void
  ) throws {
    let mountPoint = directory.file("mount")
    let mounted = try LoopMount(image, at: mountPoint)
    defer { try? mounted.unmount() }
    try measure { try Self.read(mountPoint + "/text", count: megabytes << 20) }
    try mounted.unmount()
  }

  // What is done to files.

  private static func write(_ bytes: UnsafeMutableRawBufferPointer, to path: String) throws {
    let file = try check("open \(path)") { open(path, O_CREAT | O_RDWR | O_TRUNC, 0o644) }
    defer { close(file) }
    for start in stride(from: 0, to: bytes.count, by: 1 << 20) {
      let count = min(1 << 20, bytes.count - start)
      let written = try check("pwrite") { pwrite(file, bytes.baseAddress! + start, count, start) }
      guard written == count else { throw TestFailure("pwrite of \(count) writes \(written)") }
    }
    try check("fsync") { fsync(file) }
  }

  private static func read(_ path: String, count: Int) throws {
    let file = try check("open \(path)") { open(path, O_RDONLY) }
    defer { close(file) }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { buffer.deallocate() }
    var done = 0
    while done < count {
      let got = try check("pread") { pread(file, buffer.baseAddress, 1 << 20, done) }
      guard got > 0 else { throw TestFailure("\(path) ends at \(done)") }
      done += got
    }
  }

  /// Headers of this machine, as many as there are bytes wanted.
  private static func text(bytes: Int) throws -> UnsafeMutableRawBufferPointer {
    let found = try Shell.run(
      "find", "/usr/include", "-type", "f", "-name", "*.h", timeout: 120
    ).orThrow().output
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes, alignment: 4096)
    var done = 0
    for path in found.split(separator: "\n").map(String.init).sorted() where done < bytes {
      guard let content = try? readFile(BytePath(path)) else { continue }
      let count = min(content.count, bytes - done)
      UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count])
        .copyBytes(from: content[..<count])
      done += count
    }
    guard done > 0 else { throw TestFailure("there are no headers in /usr/include") }
    // Over and over, in lengths that no piece of 128 KiB notices.
    let length = done
    while done < bytes {
      let count = min(length, bytes - done)
      UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count])
        .copyBytes(from: UnsafeRawBufferPointer(rebasing: buffer[..<count]))
      done += count
    }
    return buffer
  }
}
