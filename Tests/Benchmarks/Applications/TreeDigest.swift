import Glibc
import TestSupport

/// Numbers for all names, kinds, modes, links and bytes below a directory: two trees that have the same
/// ones are the same.
struct TreeDigest: Equatable {
  private(set) var content: UInt64
  /// Of permissions alone, which not every file system keeps.
  private(set) var modes: UInt64
  private(set) var fileCount = 0

  /// - Parameters:
  ///   - hasTimes: whether the times of files and directories belong to it, in seconds.
  ///   - ignored: a name at the top that does not.
  init(_ root: BytePath, hasTimes: Bool, ignoring ignored: String? = nil) throws {
    var hash = ContentHash()
    var modeHash = ContentHash()
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    defer { buffer.deallocate() }
    var pending = [BytePath([])]
    while let path = pending.popLast() {
      let full = root.appending(path)
      var status = stat()
      try check("lstat \(full)") { full.withCPath { lstat($0, &status) } }
      hash.add(path.bytes)
      hash.add(UInt64(status.st_mode & S_IFMT))
      modeHash.add(UInt64(status.st_mode))
      let isTop = path.bytes.isEmpty
      switch status.st_mode & S_IFMT {
      case S_IFDIR:
        let names = try directoryNames(full).filter {
          !isTop || ignored.map { Array($0.utf8) } != $0
        }
        // Backwards, as the last is taken first.
        let sorted = names.sorted { $1.lexicographicallyPrecedes($0) }
        pending.append(contentsOf: sorted.map { path.appending($0) })
      case S_IFLNK:
        hash.add(try Self.target(of: full))
      default:
        fileCount += 1
        hash.add(UInt64(status.st_size))
        try Self.add(full, to: &hash, buffer)
      }
      // Linux has other ideas of a link's times than of a file's, and the root is the caller's.
      if hasTimes, status.st_mode & S_IFMT != S_IFLNK, !isTop {
        hash.add(UInt64(bitPattern: Int64(status.st_mtim.tv_sec)))
      }
    }
    content = hash.value
    modes = modeHash.value
  }

  private static func target(of path: BytePath) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = try check("readlink \(path)") {
      path.withCPath { path in
        bytes.withUnsafeMutableBytes {
          readlink(path, $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count)
        }
      }
    }
    return Array(bytes[..<count])
  }

  private static func add(
    _ path: BytePath, to hash: inout ContentHash, _ buffer: UnsafeMutableRawBufferPointer
  ) throws {
    let file = try check("open \(path)") { path.withCPath { open($0, O_RDONLY) } }
    defer { close(file) }
    while true {
      var filled = 0
      while filled < buffer.count {
        let count = try check("read \(path)") {
          read(file, buffer.baseAddress! + filled, buffer.count - filled)
        }
        if count == 0 { break }
        filled += count
      }
      hash.add(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<filled]))
      if filled < buffer.count { return }
    }
  }
}
