import Glibc
import TestSupport

/// One pass over all phases on one subject. Between writing and reading the image is mounted anew, so
/// that what is read comes from the file system and not from the page cache.
final class BenchPass {
  private let subject: any BenchSubject
  private let image: String
  private let directory: String
  private let options: BenchOptions
  private let buffer: UnsafeMutableRawBufferPointer
  private var mounted: any MountedImage
  private var random = SeededRandom(seed: 42)
  private(set) var figures: [BenchMetric: Double] = [:]

  init(
    subject: any BenchSubject, image: String, directory: String, options: BenchOptions
  ) throws {
    self.subject = subject
    self.image = image
    self.directory = directory
    self.options = options
    buffer = .allocate(byteCount: 1 << 20, alignment: 4096)
    random.fillNonZero(buffer)
    try subject.format(image, size: "\(options.megabytes * 2 + 2048)M")
    mounted = try subject.mount(image, at: directory)
  }

  deinit { buffer.deallocate() }

  /// All phases in their order. Each leaves the mount as the next one needs it.
  enum Phase: CaseIterable {
    case largeFile, emptyFiles, sharedDirectory, smallFiles, synchronousWrites
  }

  /// Those that `options` ask for.
  static func phases(_ options: BenchOptions) -> [Phase] {
    options.syncOnly ? [.synchronousWrites] : Phase.allCases
  }

  func run() throws {
    defer { try? mounted.unmount() }
    for phase in Self.phases(options) { try run(phase) }
    try mounted.unmount()
  }

  func run(_ phase: Phase) throws {
    switch phase {
    case .largeFile: try largeFile()
    case .emptyFiles: try emptyFiles()
    case .sharedDirectory: try sharedDirectory()
    case .smallFiles: try smallFiles()
    case .synchronousWrites: try synchronousWrites()
    }
  }

  func end() throws { try mounted.unmount() }

  private func remount() throws {
    try mounted.unmount()
    mounted = try subject.mount(image, at: directory)
  }

  /// `amount` is bytes or operations.
  private func measure(_ metric: BenchMetric, _ amount: Int, _ body: () throws -> Void) throws {
    let start = monotonicSeconds()
    try body()
    let rate = Double(amount) / (monotonicSeconds() - start)
    figures[metric] = metric.isThroughput ? rate / 1e6 : rate
  }

  private func opened(_ name: String, _ flags: Int32) throws -> Int32 {
    let path = "\(directory)/\(name)"
    return try check("open \(path)") { open(path, flags, 0o644) }
  }

  private func write(_ file: Int32, _ count: Int, at offset: Int) throws {
    let written = try check("pwrite") { pwrite(file, buffer.baseAddress, count, offset) }
    guard written == count else { throw TestFailure("pwrite of \(count) writes \(written)") }
  }

  private func read(_ file: Int32, _ count: Int, at offset: Int) throws {
    let got = try check("pread") { pread(file, buffer.baseAddress, count, offset) }
    guard got == count else { throw TestFailure("pread of \(count) reads \(got)") }
  }

  private func syncDirectory(_ name: String) throws {
    let descriptor = try opened(name, O_RDONLY | O_DIRECTORY)
    defer { close(descriptor) }
    // Not every server knows how to.
    _ = fsync(descriptor)
  }

  private func largeFile() throws {
    let bytes = options.megabytes << 20
    let blocks = bytes / 4096
    var file = try opened("large", O_CREAT | O_RDWR)
    try measure(.sequentialWrite, bytes) {
      for block in 0..<options.megabytes { try write(file, 1 << 20, at: block << 20) }
      try check("fsync") { fsync(file) }
    }
    close(file)
    try remount()
    file = try opened("large", O_RDWR)
    try measure(.sequentialRead, bytes) {
      for block in 0..<options.megabytes { try read(file, 1 << 20, at: block << 20) }
    }
    close(file)
    try remount()
    file = try opened("large", O_RDWR)
    try measure(.randomRead, options.randomCount) {
      for _ in 0..<options.randomCount { try read(file, 4096, at: random.below(blocks) * 4096) }
    }
    try measure(.randomWrite, options.randomCount) {
      for _ in 0..<options.randomCount { try write(file, 4096, at: random.below(blocks) * 4096) }
      try check("fsync") { fsync(file) }
    }
    close(file)
    try remount()
  }

  private func emptyFiles() throws {
    let count = options.files
    let folder = "\(directory)/empty"
    try check("mkdir \(folder)") { mkdir(folder, 0o755) }
    try measure(.create, count) {
      for index in 0..<count { close(try opened("empty/file-\(index)", O_CREAT | O_WRONLY)) }
      try syncDirectory("empty")
    }
    try remount()
    try measure(.listing, count) {
      let names = try directoryNames(BytePath(folder))
      guard names.count == count else { throw TestFailure("readdir gives \(names.count) names") }
    }
    try remount()
    try measure(.stat, count) {
      var status = Glibc.stat()
      for index in 0..<count {
        try check("stat") { lstat("\(folder)/file-\(index)", &status) }
      }
    }
    try measure(.rename, count) {
      for index in 0..<count {
        try check("rename") {
          Glibc.rename("\(folder)/file-\(index)", "\(folder)/renamed-\(index)")
        }
      }
      try syncDirectory("empty")
    }
    try measure(.unlink, count) {
      for index in 0..<count {
        try check("unlink") { Glibc.unlink("\(folder)/renamed-\(index)") }
      }
      try syncDirectory("empty")
    }
  }

  /// Four threads make files in one directory, which is then listed as ls(1) does with attributes:
  /// each file is looked at when its name comes. Each file gets an attribute.
  private func sharedDirectory() throws {
    let threads = 4
    let each = max(options.files / threads, 1)
    let folder = "\(directory)/shared"
    try check("mkdir \(folder)") { mkdir(folder, 0o755) }
    try measure(.sharedCreate, threads * each) {
      try onThreads(threads) { thread in
        for index in 0..<each {
          let path = "\(folder)/\(thread)-\(index)"
          close(try check("create \(path)") { open(path, O_CREAT | O_EXCL | O_WRONLY, 0o644) })
        }
      }
      try syncDirectory("shared")
    }
    try remount()
    let path = BytePath(folder)
    var names: [[UInt8]] = []
    try measure(.listingStat, threads * each) {
      var status = Glibc.stat()
      let reader = try DirectoryReader(path)
      while let name = try reader.next() {
        names.append(name)
        try check("stat") { path.appending(name).withCPath { lstat($0, &status) } }
      }
    }
    guard names.count == threads * each else {
      throw TestFailure("readdir gives \(names.count) names")
    }
    try measure(.setAttribute, threads * each) {
      for name in names {
        try check("setxattr") {
          path.appending(name).withCPath {
            Linux.lsetxattr($0, "user.bench", "sixteen bytes...", 16, 0)
          }
        }
      }
      try syncDirectory("shared")
    }
  }

  private func smallFiles() throws {
    let count = options.files
    let folder = "\(directory)/small"
    try check("mkdir \(folder)") { mkdir(folder, 0o755) }
    try measure(.smallWrite, count) {
      for index in 0..<count {
        let file = try opened("small/file-\(index)", O_CREAT | O_WRONLY)
        defer { close(file) }
        try write(file, 4096, at: 0)
      }
      try syncDirectory("small")
    }
    try remount()
    try measure(.smallRead, count) {
      for index in 0..<count {
        let file = try opened("small/file-\(index)", O_RDONLY)
        defer { close(file) }
        try read(file, 4096, at: 0)
      }
    }
  }

  private func synchronousWrites() throws {
    let file = try opened("synced", O_CREAT | O_WRONLY)
    defer { close(file) }
    try measure(.writeSync, options.syncCount) {
      for index in 0..<options.syncCount {
        try write(file, 4096, at: index * 4096)
        try check("fsync") { fsync(file) }
      }
    }

    // Each thread a file of its own.
    let threads = 8
    let files = try (0..<threads).map { try opened("synced-\($0)", O_CREAT | O_WRONLY) }
    defer { for file in files { close(file) } }
    let each = max(options.syncCount / 2, 1)
    try measure(.sharedSync, threads * each) {
      try onThreads(threads) { thread in
        let bytes = [UInt8](repeating: UInt8(thread + 1), count: 4096)
        for index in 0..<each {
          let count = bytes.withUnsafeBytes {
            pwrite(files[thread], $0.baseAddress, 4096, index * 4096)
          }
          guard count == 4096 else { throw TestFailure("pwrite of 4096 writes \(count)") }
          try check("fsync") { fsync(files[thread]) }
        }
      }
    }
  }
}
