import FSCore

/// By what a request came: the file or directory that was opened for it, and who asks.
struct ControlContext: Sendable {
  let inode: InodeID
  let credentials: Credentials
  let changes: DirectoryChanges
}

/// What a request has changed of a directory that the kernel knows of: it has to be told, as it was not
/// asked to change that. Lock rank: `leaf`.
final class DirectoryChanges: Sendable {
  private let state = Guarded<[[UInt8]]>([], rank: .leaf)

  /// A name is new, or gone. What cannot be a name is not noted.
  func note(_ name: [UInt8]) {
    guard (1...Format.maximumNameLength).contains(name.count), !name.contains(0),
      !name.contains(UInt8(ascii: "/"))
    else { return }
    state.withLock { $0.append(name) }
  }

  var names: [[UInt8]] { state.withLock { $0 } }
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
