import FSCore

/// Brings the file system to another size, on a thread of its own.
struct ResizeCall: ControlCall {
  static let command = "resize"
  typealias Answer = ResizeReport

  enum Change: String, Codable, Sendable {
    /// To `bytes`.
    case to
    /// By `bytes`.
    case grow
    case shrink
    /// To all that the file or block device has.
    case max
  }

  var change: Change
  var bytes: UInt64?
}

struct ResizeStatusCall: ControlCall {
  static let command = "resize_status"
  typealias Answer = ResizeReport
}

/// What a resize is at, or how the last one has ended. All sizes are in bytes.
struct ResizeReport: Codable, Sendable, Equatable {
  var isRunning = false
  var from: UInt64?
  var to: UInt64?
  /// As it is now.
  var size: UInt64?
  /// Why the last one has failed.
  var error: String?
  var errno: String?
}

extension ControlledMount {
  var resizeOperations: [ControlOperation] {
    [
      ControlOperation(
        ResizeCall.self, "makes the file system longer or shorter", needsWriting: true
      ) { (call) throws(ControlFailure) in
        try resizes.start(volume, to: target(of: call))
      },
      ControlOperation(ResizeStatusCall.self, "what a resize is at") { _ in
        resizes.report(of: volume)
      },
    ]
  }

  private func target(of call: ResizeCall) throws(ControlFailure) -> UInt64 {
    if call.change == .max { return volume.deviceBytes }
    guard let bytes = call.bytes else { throw ControlFailure("'bytes' is missing", "EINVAL") }
    let old = volume.sizeBytes
    let (size, overflow) =
      switch call.change {
      case .grow: old.addingReportingOverflow(bytes)
      case .shrink: old.subtractingReportingOverflow(bytes)
      case .to, .max: (bytes, false)
      }
    // What a file can be.
    guard !overflow, size <= UInt64(Int64.max) else {
      throw ControlFailure(
        "the file system has \(ByteCount.exactText(old)): it cannot be changed by "
          + ByteCount.exactText(bytes), "EINVAL")
    }
    return size
  }
}
