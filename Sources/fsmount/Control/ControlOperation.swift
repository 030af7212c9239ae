import FSCore

/// By what a request came: the file or directory that was opened for it, and the user that asks.
struct ControlContext: Sendable {
  let inode: InodeID
  /// Means something of a regular file.
  let isOpenForWriting: Bool
  /// Whether the kernel keeps the size of files, whatever it is told (writeback_cache).
  var keepsSizes = false
  let credentials: Credentials
  let changes: UnaskedChanges
}

/// What a request has changed of the file or directory by which it came, and the kernel was not asked to
/// change: it has to be told. Lock rank: `leaf`.
final class UnaskedChanges: Sendable {
  private let state = Guarded(State(), rank: .leaf)

  private struct State {
    var names: [[UInt8]] = []
    var hasContent = false
  }

  /// A name is new, or gone. What cannot be a name is not noted.
  func note(_ name: [UInt8]) {
    guard (1...Format.maximumNameLength).contains(name.count), !name.contains(0),
      !name.contains(UInt8(ascii: "/"))
    else { return }
    state.withLock { $0.names.append(name) }
  }

  /// The content of the file is another one.
  func noteContent() { state.withLock { $0.hasContent = true } }

  var names: [[UInt8]] { state.withLock { $0.names } }
  var hasContent: Bool { state.withLock { $0.hasContent } }
}

/// One command of the control channel, on the side of the mount.
struct ControlOperation: Sendable {
  let name: String
  let summary: String
  /// Whether it is refused where the mount is read-only.
  let needsWriting: Bool
  /// Takes the text of a request to that of its answer.
  let run: @Sendable ([UInt8], ControlContext?) throws(ControlFailure) -> [UInt8]

  /// - Parameter body: returns soon: it runs on a thread that serves requests.
  init<Call: ControlCall>(
    _ call: Call.Type, _ summary: String, needsWriting: Bool = false,
    _ body: @escaping @Sendable (Call) throws(ControlFailure) -> Call.Answer
  ) {
    name = Call.command
    self.summary = summary
    self.needsWriting = needsWriting
    run = { (text, _) throws(ControlFailure) in
      ControlJSON.encode(ControlAnswer(try body(ControlJSON.decode(Call.self, from: text))))
    }
  }

  /// One that is about what was opened.
  init<Call: ControlCall>(
    _ call: Call.Type, _ summary: String, needsWriting: Bool = false,
    _ body: @escaping @Sendable (Call, ControlContext) throws(ControlFailure) -> Call.Answer
  ) {
    name = Call.command
    self.summary = summary
    self.needsWriting = needsWriting
    run = { (text, context) throws(ControlFailure) in
      guard let context else { throw ControlFailure("nothing was opened for this", "EINVAL") }
      let call = try ControlJSON.decode(Call.self, from: text)
      return ControlJSON.encode(ControlAnswer(try body(call, context)))
    }
  }
}
