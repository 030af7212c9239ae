/// Moving what is in block groups, and the size of the file system.
extension Volume {
  /// Starts, pauses, resumes and cancels balances: `start(_:)`, `pause()`, `resume()`, `cancel()`,
  /// `status`. See `Balancer`; filters are read by `BalanceFilter(text:)`.
  package var balance: Balancer { balancer }
}
