import FSCore

/// What can be asked of a mount: the fields of a request, and what it is answered with. Both ends
/// of the channel use these types; `Documentation/control-channel.md` describes them for others.
protocol ControlCall: Codable, Sendable {
  associatedtype Answer: Codable & Sendable

  /// What the request's `command` says.
  static var command: String { get }
}

enum ControlProtocol {
  /// Of requests and answers. It grows when old programs would misunderstand new ones.
  static let version = 1
}

/// The part of a request that is there whatever is asked.
struct ControlHeader: Codable, Equatable {
  var version: Int
  var command: String
}

/// A request as it is sent.
struct ControlRequest<Call: ControlCall>: Encodable {
  let call: Call

  func encode(to encoder: any Encoder) throws {
    try ControlHeader(version: ControlProtocol.version, command: Call.command).encode(to: encoder)
    try call.encode(to: encoder)
  }
}

/// An answer: `result` when it is ok, else `error`, for people, and `errno`.
struct ControlAnswer<Result: Codable>: Codable {
  var version = ControlProtocol.version
  var ok: Bool
  var result: Result?
  var error: String?
  var errno: String?

  init(_ result: Result) {
    ok = true
    self.result = result
  }

  init(failure: ControlFailure) {
    ok = false
    error = failure.description
    errno = failure.errno
  }
}

/// For answers of which only the failure matters.
struct NoResult: Codable, Sendable {}

/// Which commands the mount knows.
struct CommandsCall: ControlCall {
  static let command = "commands"

  struct Answer: Codable, Sendable {
    struct Command: Codable, Sendable {
      var name: String
      var summary: String
    }

    /// The program that serves the mount.
    var program: String
    var commands: [Command]
  }
}

/// How the mount has fared.
struct StatsCall: ControlCall {
  static let command = "stats"
  typealias Answer = MountStatistics
}

/// How the space is used.
struct UsageCall: ControlCall {
  static let command = "usage"
  typealias Answer = SpaceUsage
}

/// Figures of a mount since it began.
struct MountStatistics: Codable, Sendable {
  struct Requests: Codable, Sendable, Equatable {
    var operation: String
    var count: UInt64
    /// Not known to the mount: see `StatsReport.figures`.
    var perSecond: Double?
  }

  /// How requests come.
  struct Transport: Codable, Sendable, Equatable {
    /// `io_uring`, or `device`.
    var kind: String
    /// Why it is not io_uring.
    var reason: String?
    /// With io_uring: one for each processor that the machine may have.
    var queues: Int?
    /// With io_uring: the threads that serve its requests.
    var threads: Int?
  }

  var image: String
  var mountPoint: String
  var uptimeSeconds: Double
  var transport: Transport
  /// Of the kinds that have come at all.
  var requests: [Requests]
  /// All of them a second. Not known to the mount: see `StatsReport.figures`.
  var requestsPerSecond: Double?
  var volume: VolumeReport
}
