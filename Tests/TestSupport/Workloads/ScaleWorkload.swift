import Glibc

/// Many files in few directories, and one huge sparse file: what a file system is asked for that
/// must not keep a file, a directory or a tree in memory. All that is read is verified.
package struct ScaleWorkload {
  package struct Options: Sendable {
    package var files = 4_000_000
    /// The first directory gets this many, the others as many at the most.
    package var perDirectory = 1_000_000
    /// Blocks of the sparse file.
    package var blocks = 50_000
    package var seed: UInt64 = 1

    package init() {}
  }

  /// How long `count` operations took.
  package struct Timing {
    package let what: String
    package let count: Int
    package let seconds: Double

    package var microsecondsEach: Double { seconds * 1e6 / Double(max(count, 1)) }
  }

  static let sparseBytes = 1 << 40
  static let blockBytes = 4096
  /// One file in so many has content.
  private static let filledShare = 16

  private let root: BytePath
  private let options: Options
  private let report: (Timing) throws -> Void

  /// - Parameter report: is told of each step, and of each 100,000 files that are made.
  package init(
    directory: BytePath, options: Options, report: @escaping (Timing) throws -> Void
  ) {
    root = directory
    self.options = options
    self.report = report
  }

  private var directoryCount: Int {
    (options.files + options.perDirectory - 1) / options.perDirectory
  }

  private func directory(_ number: Int) -> BytePath { root.appending("directory-\(number)") }

  private func numbers(in directory: Int) -> Range<Int> {
    let first = directory * options.perDirectory
    return first..<min(first + options.perDirectory, options.files)
  }

  private func path(_ number: Int) -> BytePath {
    directory(number / options.perDirectory).appending("file-\(number)")
  }

  private func measured(_ what: String, _ count: Int, _ body: () throws -> Void) throws {
    let start = monotonicSeconds()
    try body()
    try report(Timing(what: what, count: count, seconds: monotonicSeconds() - start))
  }

  // Files.

  /// Makes all files, one directory after the other; some have a line that says which they are.
  package func makeFiles() throws {
    for number in 0..<directoryCount {
      let path = directory(number)
      try check("mkdir \(path)") { path.withCPath { mkdir($0, 0o755) } }
    }
    for first in stride(from: 0, to: options.files, by: 100_000) {
      let numbers = first..<min(first + 100_000, options.files)
      try measured("make files from \(first)", numbers.count) {
        for number in numbers { try makeFile(number) }
      }
    }
  }

  private func makeFile(_ number: Int) throws {
    let path = path(number)
    if number % Self.filledShare == 0 { return try writeFile(path, content(number)) }
    try check("mknod \(path)") { path.withCPath { mknod($0, S_IFREG | 0o644, 0) } }
  }

  private func content(_ number: Int) -> [UInt8] { Array("this is file \(number)\n".utf8) }

  /// Lists every directory: each name that there should be, once, and no other.
  package func listFiles(without gone: Set<Int> = []) throws {
    let present = (0..<directoryCount).filter { !gone.contains($0) }
    try measured("list", present.reduce(0) { $0 + numbers(in: $1).count }) {
      for directory in present { try list(directory) }
    }
  }

  private func list(_ number: Int) throws {
    let path = directory(number)
    let range = numbers(in: number)
    var isSeen = [Bool](repeating: false, count: range.count)
    guard let stream = path.withCPath({ opendir($0) }) else {
      throw SystemError(what: "opendir \(path)", code: errno)
    }
    defer { closedir(stream) }
    while true {
      errno = 0
      guard let entry = readdir(stream) else { break }
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
      }
      if name == "." || name == ".." { continue }
      guard name.hasPrefix("file-"), let file = Int(name.dropFirst(5)), range.contains(file),
        !isSeen[file - range.lowerBound]
      else { throw TestFailure("\(path) lists \(name), which is not there or was listed before") }
      isSeen[file - range.lowerBound] = true
    }
    if errno != 0 { throw SystemError(what: "readdir \(path)", code: errno) }
    guard !isSeen.contains(false) else {
      throw TestFailure("\(path) lists \(isSeen.count { $0 }) of \(range.count) files")
    }
  }

  /// Asks for the attributes of every file of one directory, as `ls -l` does.
  package func statFiles(of number: Int) throws {
    let numbers = numbers(in: number)
    try measured("stat in order", numbers.count) {
      for file in numbers { try stat(file) }
    }
  }

  /// Looks at files here and there, and reads those that have something in them.
  package func readSome(_ count: Int) throws {
    var random = SeededRandom(seed: options.seed)
    try measured("stat and read at random", count) {
      for _ in 0..<count {
        let number = random.below(options.files)
        try stat(number)
        guard number % Self.filledShare == 0 else { continue }
        guard try readFile(path(number)) == content(number) else {
          throw TestFailure("\(path(number)) holds something else than was written")
        }
      }
    }
  }

  private func stat(_ number: Int) throws {
    let path = path(number)
    var status = Glibc.stat()
    try check("lstat \(path)") { path.withCPath { lstat($0, &status) } }
    let size = number % Self.filledShare == 0 ? content(number).count : 0
    guard status.st_mode == S_IFREG | 0o644, status.st_size == size, status.st_nlink == 1 else {
      throw TestFailure("\(path) has the attributes of another file")
    }
  }

  /// Removes a whole directory.
  package func removeFiles(of number: Int) throws {
    let numbers = numbers(in: number)
    try measured("unlink in order", numbers.count) {
      for file in numbers {
        let path = path(file)
        try check("unlink \(path)") { path.withCPath { unlink($0) } }
      }
    }
    let emptied = directory(number)
    try check("rmdir \(emptied)") { emptied.withCPath { rmdir($0) } }
  }

  // The sparse file.

  private var sparsePath: BytePath { root.appending("sparse") }

  /// Where its blocks stand: ascending, each once.
  private func blockOffsets() -> [Int] {
    var random = SeededRandom(seed: options.seed ^ 0x5ba7)
    var offsets: Set<Int> = []
    while offsets.count < options.blocks {
      offsets.insert(random.below(Self.sparseBytes / Self.blockBytes) * Self.blockBytes)
    }
    return offsets.sorted()
  }

  private func block(at offset: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: Self.blockBytes) { buffer, count in
      var random = SplitMix64(state: UInt64(offset))
      let bytes = UnsafeMutableRawBufferPointer(buffer)
      for position in stride(from: 0, to: Self.blockBytes, by: 8) {
        bytes.storeBytes(of: random.next() | 1, toByteOffset: position, as: UInt64.self)
      }
      count = Self.blockBytes
    }
  }

  /// Writes blocks at random places of a file of 1 TiB.
  package func writeSparseFile() throws {
    var random = SeededRandom(seed: options.seed)
    let offsets = blockOffsets().shuffled(using: &random)
    try withSparseFile(O_CREAT | O_RDWR) { file in
      try check("ftruncate") { ftruncate(file, Self.sparseBytes) }
      try measured("write 4 KiB into 1 TiB", offsets.count) {
        for offset in offsets {
          let count = try check("pwrite") { pwrite(file, block(at: offset), 4096, offset) }
          guard count == Self.blockBytes else { throw TestFailure("pwrite wrote \(count) bytes") }
        }
        try check("fsync") { fsync(file) }
      }
    }
  }

  /// Walks from data to data: they begin and end where they were written, and are what was
  /// written, up to `end`, where the file ends.
  package func verifySparseFile(upTo end: Int = sparseBytes) throws {
    var expected = blockOffsets().filter { $0 < end }
    expected.append(end)
    try withSparseFile(O_RDONLY) { file in
      try measured("seek and read 4 KiB in 1 TiB", expected.count) {
        var position = 0
        for (number, offset) in expected.enumerated() {
          // Neighbours are one piece of data.
          if number == 0 || offset != position {
            let data = outcome { lseek(file, position, Linux.seekData) }
            guard data == (offset == end ? -Int(ENXIO) : offset) else {
              throw TestFailure("data at \(data) after \(position), where \(offset) was written")
            }
          }
          if offset == end { break }
          position = offset + Self.blockBytes
          var bytes = [UInt8](repeating: 0, count: Self.blockBytes)
          try check("pread") { pread(file, &bytes, Self.blockBytes, offset) }
          guard bytes == block(at: offset) else {
            throw TestFailure("the block at \(offset) holds something else")
          }
          if expected[number + 1] == position { continue }
          let hole = try check("SEEK_HOLE") { lseek(file, offset, Linux.seekHole) }
          guard hole == position else {
            throw TestFailure("a hole at \(hole) after the block at \(offset)")
          }
        }
      }
    }
  }

  /// Cuts it in the middle, verifies what is left, and removes it.
  package func removeSparseFile() throws {
    let half = Self.sparseBytes / 2
    try measured("cut 1 TiB in half", 1) {
      _ = try check("truncate") { sparsePath.withCPath { truncate($0, half) } }
    }
    try verifySparseFile(upTo: half)
    try measured("unlink the rest", 1) {
      _ = try check("unlink") { sparsePath.withCPath { unlink($0) } }
    }
  }

  private func withSparseFile(_ flags: Int32, _ body: (Int32) throws -> Void) throws {
    let file = try check("open \(sparsePath)") {
      sparsePath.withCPath { open($0, flags, 0o644) }
    }
    defer { close(file) }
    try body(file)
  }
}
