import CFuse

/// Whether requests come over io_uring, as the option `io_uring` says it.
enum RingChoice: String, Sendable {
  /// Where it is possible.
  case auto
  /// Else there is no mount.
  case on
  case off
}

/// How requests come from the kernel.
enum RequestTransport: Sendable, Equatable {
  /// Over /dev/fuse, and why.
  case device(reason: String)
  /// Over io_uring: with so many queues, of which each has a thread or more.
  case ring(queues: Int, threads: Int)

  /// Before the session is mounted.
  ///
  /// - Parameter threads: how many requests of one processor are served at a time; nil for as many as suit.
  static func choose(_ choice: RingChoice, threads: UInt32?) throws(CommandFailure) {
    cfuse_use_ring(choice != .off, threads ?? 0)
    if choice == .on, let obstacle { throw failure(obstacle) }
  }

  /// Meant when the mount serves requests.
  static var current: RequestTransport {
    if let obstacle { return .device(reason: obstacle) }
    let figures = cfuse_ring_figures()
    return .ring(queues: Int(figures.queues), threads: Int(figures.threads))
  }

  var figures: MountStatistics.Transport {
    switch self {
    case .device(let reason): .init(kind: "device", reason: reason)
    case .ring(let queues, let threads): .init(kind: "io_uring", queues: queues, threads: threads)
    }
  }

  static func failure(_ reason: String) -> CommandFailure {
    CommandFailure("'io_uring=on' cannot be had: \(reason)")
  }

  private static var obstacle: String? {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { text in
      cfuse_ring_obstacle(text.baseAddress, text.count)
        ? String(cString: text.baseAddress!) : nil
    }
  }
}
