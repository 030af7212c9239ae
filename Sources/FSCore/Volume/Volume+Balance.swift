/// Moving what is in block groups, and the size of the file system.
extension Volume {
  /// Starts, pauses, resumes and cancels balances: `start(_:)`, `pause()`, `resume()`, `cancel()`,
  /// `status`. See `Balancer`; filters are read by `BalanceFilter(text:)`.
  package var balance: Balancer { balancer }

  /// The size of the file system, in bytes.
  package var sizeBytes: UInt64 { space.chunks.deviceBytes }

  /// How long the file or block device is that the image stands on: what it can grow to without being
  /// made longer.
  package var deviceBytes: UInt64 {
    device.devices.members.first?.device.sizeBytes ?? sizeBytes
  }

  /// Brings the file system to `bytes`, less what is no whole sector: a file is made longer or shorter
  /// with it. Returns when that is durable; shrinking moves what stands beyond the new end, which may
  /// take long.
  ///
  /// Throws `.invalidArgument` below what Linux allows or what is used needs, saying by how much;
  /// `.busy` beside a balance or another resize, and when `stopMoving` has stopped it; what the device answered. The old size stays then.
  package func resize(to bytes: UInt64) throws(FilesystemError) {
    try balancer.whileIdle("a resize") { (goesOn) throws(FilesystemError) in
      try resizer.resize(to: bytes, while: goesOn)
    }
  }

  /// Tells a balance and a resize to stop, as the file system is about to be unmounted, without waiting
  /// for them: the balance is left to the next mount, and `resize` throws `.busy`. None begins any
  /// more.
  package func stopMoving() { balancer.requestEnd() }
}
