import Logging

@testable import FSCore

/// Keeps what is logged.
struct KeepingLog: LogHandler {
  let lines: Guarded<[String]>
  var metadata: Logger.Metadata = [:]
  var logLevel = Logger.Level.info

  init(_ lines: Guarded<[String]>) { self.lines = lines }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) { lines.withLock { $0.append("\(event.message)") } }
}
