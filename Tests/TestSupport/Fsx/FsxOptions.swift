/// What `FsxModel` does and for how long.
package struct FsxOptions: Sendable {
  package var seed: UInt64
  package var operations = 100_000
  /// No offset reaches beyond it.
  package var maximumSize = 256 << 10
  package var maximumTransfer = 64 << 10
  package var usesMapping = true
  package var usesDirectIO = false
  /// Most of what is written can be compressed.
  package var isCompressible = false
  /// Operations may be refused for want of space: others fill the volume.
  package var mayLackSpace = false
  /// One `fsync` in so many operations.
  package var syncInterval = 500
  /// One remount in so many operations, when there is a way to remount.
  package var remountInterval = 5_000
  package var logLength = 100

  package init(seed: UInt64) { self.seed = seed }
}

/// One step, with the range of the file it concerns.
package enum FsxOperation: CustomStringConvertible {
  case read(offset: Int, length: Int, direct: Bool)
  case mappedRead(offset: Int, length: Int)
  case write(offset: Int, length: Int, direct: Bool)
  case append(length: Int)
  case mappedWrite(offset: Int, length: Int, flush: Bool)
  case truncate(size: Int)
  case punchHole(offset: Int, length: Int)
  case zeroRange(offset: Int, length: Int, keepSize: Bool)
  case allocate(offset: Int, length: Int, keepSize: Bool)
  case reopen
  case sync(dataOnly: Bool)
  case remount

  package var description: String {
    switch self {
    case .read(let offset, let length, let direct):
      "\(direct ? "direct read" : "read") \(span(offset, length))"
    case .mappedRead(let offset, let length): "mapped read \(span(offset, length))"
    case .write(let offset, let length, let direct):
      "\(direct ? "direct write" : "write") \(span(offset, length))"
    case .append(let length): "append \(length) bytes"
    case .mappedWrite(let offset, let length, let flush):
      "mapped write\(flush ? " with msync" : "") \(span(offset, length))"
    case .truncate(let size): "truncate to \(size)"
    case .punchHole(let offset, let length): "punch hole \(span(offset, length))"
    case .zeroRange(let offset, let length, let keepSize):
      "zero range\(keepSize ? " keeping the size" : "") \(span(offset, length))"
    case .allocate(let offset, let length, let keepSize):
      "fallocate\(keepSize ? " keeping the size" : "") \(span(offset, length))"
    case .reopen: "close and open"
    case .sync(let dataOnly): dataOnly ? "fdatasync" : "fsync"
    case .remount: "remount"
    }
  }

  private func span(_ offset: Int, _ length: Int) -> String {
    "\(offset) ..< \(offset + length) (\(length) bytes)"
  }
}
