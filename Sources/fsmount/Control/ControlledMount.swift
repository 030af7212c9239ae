import FSCore

/// A mount as its control channel sees it.
struct ControlledMount: Sendable {
  let volume: Volume
  let image: String
  let mountPoint: String
  let requests: RequestCounters
  let resizes = ResizeJob()
  let start = ContinuousClock.now

  /// What can be asked.
  var operations: [ControlOperation] {
    [
      ControlOperation(StatsCall.self, "figures since the mount began") { _ in statistics() },
      ControlOperation(UsageCall.self, "how the space is used") { (_) throws(ControlFailure) in
        try ControlFailure.telling { () throws(FilesystemError) in try usage() }
      },
    ] + balanceOperations + resizeOperations + subvolumeOperations + reflinkOperations
  }

  private func statistics() -> MountStatistics {
    let counts = FuseOperation.allCases.map {
      MountStatistics.Requests(operation: $0.name, count: requests.count(of: $0))
    }
    return MountStatistics(
      image: image, mountPoint: mountPoint,
      uptimeSeconds: (ContinuousClock.now - start) / .seconds(1),
      transport: RequestTransport.current.figures,
      requests: counts.filter { $0.count > 0 }, volume: volume.report())
  }

  private func usage() throws(FilesystemError) -> SpaceUsage {
    var usage = try volume.usage()
    usage.setPath(image, ofDevice: volume.device.devices.members[0].id.rawValue)
    return usage
  }
}
