import Glibc
import Logging
import Synchronization

/// Where a mount's messages go: standard error, and from the moment on that the process leaves
/// its terminal, the system log.
struct MountLog: LogHandler {
  private static let isDetached = Atomic<Bool>(false)

  var metadata: Logger.Metadata = [:]
  var logLevel: Logger.Level

  /// - Parameter name: stands before each message, to tell one mount from another.
  static func logger(_ name: String, level: Logger.Level = .info) -> Logger {
    Logger(label: name) { _ in MountLog(logLevel: level) }
  }

  /// From now on to the system log. `openlog` keeps the pointer, hence the copy for good.
  static func detach(as name: String) {
    openlog(strdup(name), LOG_PID, LOG_DAEMON)
    isDetached.store(true, ordering: .releasing)
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    var text = event.message.description
    if let error = event.error { text += ": \(error)" }
    let values = metadata.merging(event.metadata ?? [:]) { $1 }
    for (key, value) in values.sorted(by: { $0.key < $1.key }) { text += " \(key)=\(value)" }

    if Self.isDetached.load(ordering: .acquiring) {
      text.withCString { text in
        withVaList([OpaquePointer(text)]) { vsyslog(Self.priority(event.level), "%s", $0) }
      }
    } else {
      let level = event.level <= .info ? "" : "\(event.level): "
      StandardError.write("fsmount: \(level)\(text)")
    }
  }

  private static func priority(_ level: Logger.Level) -> Int32 {
    switch level {
    case .trace, .debug: LOG_DEBUG
    case .info: LOG_INFO
    case .notice: LOG_NOTICE
    case .warning: LOG_WARNING
    case .error: LOG_ERR
    case .critical: LOG_CRIT
    }
  }
}
