import Glibc
import Logging
import Synchronization

/// Where a mount's messages go: standard error, and from the moment on that the process leaves
/// its terminal, the system log. No thread that says something waits for either.
struct MountLog: LogHandler {
  private struct Line {
    let level: Logger.Level
    let text: String
  }

  private static let isDetached = Atomic<Bool>(false)

  private static let writer = LogWriter<Line>(
    limit: 1024,
    lineAboutDropped: { Line(level: .warning, text: "\($0) messages were lost here") },
    write: { write($0) })

  /// How long a message is waited for that cannot be written.
  private static let patienceSeconds = 2.0

  var metadata: Logger.Metadata = [:]
  var logLevel: Logger.Level

  /// - Parameter name: stands before each message, to tell one mount from another.
  static func logger(_ name: String, level: Logger.Level = .info) -> Logger {
    Logger(label: name) { _ in MountLog(logLevel: level) }
  }

  /// From now on to the system log. `openlog` keeps the pointer, hence the copy for good.
  static func detach(as name: String) {
    flush()
    openlog(strdup(name), LOG_PID, LOG_DAEMON)
    isDetached.store(true, ordering: .releasing)
  }

  /// Before the process ends: waits until the messages are written, but not for ever.
  static func flush() { writer.flush(atMost: patienceSeconds) }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    var text = event.message.description
    if let error = event.error { text += ": \(error)" }
    let values = metadata.merging(event.metadata ?? [:]) { $1 }
    for (key, value) in values.sorted(by: { $0.key < $1.key }) { text += " \(key)=\(value)" }
    Self.writer.add(Line(level: event.level, text: text))
  }

  private static func write(_ line: Line) {
    if isDetached.load(ordering: .acquiring) {
      line.text.withCString { text in
        withVaList([OpaquePointer(text)]) { vsyslog(priority(line.level), "%s", $0) }
      }
    } else {
      let level = line.level <= .info ? "" : "\(line.level): "
      StandardError.write("fsmount: \(level)\(line.text)")
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
