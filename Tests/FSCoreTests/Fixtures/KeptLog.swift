import Logging

@testable import FSCore

/// Keeps what is logged, each line behind its level.
struct KeptLog: LogHandler {
  let lines: Guarded<[String]>
  var metadata: Logger.Metadata = [:]
  var logLevel = Logger.Level.info

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) { lines.withLock { $0.append("\(event.level): \(event.message)") } }
}

extension Volume {
  /// Mounts an image, and keeps what is said about it.
  static func mountForTest(_ device: any BlockDevice, log lines: Guarded<[String]>) throws -> Volume
  {
    var options = VolumeOptions()
    options.commitInterval = 3600
    return try mount(
      device: device, options: options,
      logger: Logger(label: "test") { _ in KeptLog(lines: lines) })
  }
}
