import FSCore

/// The commands about balances. A balance has a thread of its own; when it is told to stop it leaves
/// the extent that it is at, which may take a while: the answer does not wait for that, and says
/// `stopping`.
extension ControlledMount {
  var balanceOperations: [ControlOperation] {
    let balance = volume.balance
    return [
      ControlOperation(BalanceStartCall.self, "begins a balance", needsWriting: true) {
        (call) throws(ControlFailure) in
        try begin(balance, call)
      },
      ControlOperation(BalanceStatusCall.self, "what a balance is at") { _ in
        BalanceReport(balance.status)
      },
      ControlOperation(BalancePauseCall.self, "pauses a balance", needsWriting: true) {
        (_) throws(ControlFailure) in
        guard balance.requestPause() else { throw Self.noBalance("is running") }
        return Self.stopping(balance)
      },
      ControlOperation(BalanceResumeCall.self, "goes on with a balance", needsWriting: true) {
        (_) throws(ControlFailure) in
        guard balance.status.phase != .none else { throw Self.noBalance("is paused") }
        try ControlFailure.telling { () throws(FilesystemError) in try balance.resume() }
        return BalanceReport(balance.status)
      },
      ControlOperation(BalanceCancelCall.self, "ends a balance", needsWriting: true) {
        (_) throws(ControlFailure) in
        if balance.requestCancel() { return Self.stopping(balance) }
        guard balance.status.phase == .paused else { throw Self.noBalance("is running or paused") }
        try ControlFailure.telling { () throws(FilesystemError) in try balance.cancel() }
        return BalanceReport(balance.status)
      },
    ]
  }

  private func begin(
    _ balance: Balancer, _ call: BalanceStartCall
  ) throws(ControlFailure) -> BalanceReport {
    do throws(FilesystemError) {
      try balance.start(call.plan())
      return BalanceReport(balance.status)
    } catch {
      // Which one is in the way.
      guard case .busy(let why) = error, let plan = BalanceReport(balance.status).plan else {
        throw ControlFailure(error)
      }
      throw ControlFailure("\(why): it moves \(plan)", "EBUSY")
    }
  }

  private static func stopping(_ balance: Balancer) -> BalanceReport {
    var report = BalanceReport(balance.status)
    if report.phase == BalanceStatus.Phase.running.rawValue {
      report.phase = BalanceStatus.Phase.stopping.rawValue
    }
    return report
  }

  private static func noBalance(_ what: String) -> ControlFailure {
    ControlFailure("no balance \(what)", "ENOTCONN")
  }
}
