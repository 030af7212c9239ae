import FSCore

/// One command of the control channel, on the side of the mount.
struct ControlOperation: Sendable {
  let name: String
  let summary: String
  /// Whether it is refused where the mount is read-only.
  let needsWriting: Bool
  /// Takes the text of a request to that of its answer.
  let run: @Sendable ([UInt8]) throws(ControlFailure) -> [UInt8]

  /// - Parameter body: returns soon: it runs on a thread that serves requests.
  init<Call: ControlCall>(
    _ call: Call.Type, _ summary: String, needsWriting: Bool = false,
    _ body: @escaping @Sendable (Call) throws(ControlFailure) -> Call.Answer
  ) {
    name = Call.command
    self.summary = summary
    self.needsWriting = needsWriting
    run = { (text) throws(ControlFailure) in
      ControlJSON.encode(ControlAnswer(try body(ControlJSON.decode(Call.self, from: text))))
    }
  }
}
