/// How the bound that a volume is mounted with is shared out.
package struct MemoryBudget: Sendable {
  package let totalBytes: UInt64

  package init(totalBytes: UInt64) { self.totalBytes = totalBytes }

  /// Tree blocks that are on the device too.
  package var cleanBlockBytes: Int { Int(clamping: totalBytes / 8 * 3) }

  /// Tree blocks that only a commit can let go: beyond this one begins.
  package var dirtyBlockBytes: Int { Int(clamping: totalBytes / 4) }

  /// Data that was written and is not on the device.
  package var bufferBytes: UInt64 { totalBytes / 4 }

  /// Inodes that nobody uses; one takes about 1 KiB.
  package var inodeCount: Int { max(1024, Int(clamping: totalBytes / 8 / 1024)) }
}
