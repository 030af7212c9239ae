import Logging

extension Volume {
  /// Offset of the flags in QGROUP_STATUS (format §11.3), and the two that matter.
  private static let flagsOffset = 16
  private static let isOn: UInt64 = 1
  private static let isInconsistent: UInt64 = 4

  /// Says in the image that its quota numbers are out of date, as they will be: they are not
  /// kept here. Linux counts anew when it is asked to.
  func disownQuotas() throws(FilesystemError) {
    guard let tree = try trees.optional(.quota) else { return }
    let key = Key(0, .quotaGroupStatus, 0)
    let end = Self.flagsOffset + 8
    let flags = try tree.find(key) { (bytes) throws(FilesystemError) -> UInt64 in
      bytes.byteCount >= end ? bytes.u64(Self.flagsOffset) : 0
    }
    guard let flags, flags & Self.isOn != 0, flags & Self.isInconsistent == 0 else { return }

    log.warning("the image has quotas: they are marked as inconsistent, and not kept")
    try transactions.perform(reserving: 1) { (handle) throws(FilesystemError) in
      _ = try tree.modify(key, in: handle) { (bytes) throws(FilesystemError) in
        bytes.store(flags | Self.isInconsistent, at: Self.flagsOffset)
      }
    }
  }
}
