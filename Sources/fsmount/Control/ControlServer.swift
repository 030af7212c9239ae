import FSCore

/// Answers requests on the control channel of one mount. Lock rank: `leaf`, for `pending`.
///
/// 1. Each request gets an answer in JSON, whatever it is.
/// 2. No request waits for work that takes long: such work has a thread of its own, and the answer
///    says that it was started.
/// 3. An answer that does not fit into one message is kept until it was read, or until
///    `mostPending` later ones are kept, or later ones that have `mostPendingBytes` with it.
final class ControlServer: Sendable {
  private let operations: [ControlOperation]
  /// Why nothing can be changed.
  private let readOnlyReason: String?
  private let pending = Guarded(Pending(), rank: .leaf)

  private static let mostPending = 8
  private let mostPendingBytes: Int

  private struct Pending {
    var answers: [(token: UInt64, text: [UInt8])] = []
    var lastToken: UInt64 = 0

    private var bytes: Int { answers.reduce(0) { $0 + $1.text.count } }

    /// Lets the oldest go that are too many; the newest stays.
    mutating func shrink(toBytes limit: Int) {
      while answers.count > 1, answers.count > ControlServer.mostPending || bytes > limit {
        answers.removeFirst()
      }
    }
  }

  init(
    _ operations: [ControlOperation], readOnlyReason: String? = nil,
    mostPendingBytes: Int = 32 << 20
  ) {
    self.mostPendingBytes = mostPendingBytes
    let own = CommandsCall.Answer.Command(
      name: CommandsCall.command, summary: "lists the commands")
    let names =
      operations.map { CommandsCall.Answer.Command(name: $0.name, summary: $0.summary) } + [own]
    let list = ControlOperation(CommandsCall.self, own.summary) { _ in
      CommandsCall.Answer(program: Version.text, commands: names)
    }
    self.operations = operations + [list]
    self.readOnlyReason = readOnlyReason
  }

  /// The answer to the bytes of one message, as the bytes of one.
  ///
  /// - Parameter isAllowed: whether the caller may control the mount.
  func answer(
    _ message: UnsafeRawBufferPointer, isAllowed: Bool, _ context: ControlContext? = nil
  ) -> [UInt8] {
    do throws(ControlFailure) {
      guard isAllowed else {
        throw ControlFailure(
          "only the user who mounted it, and root, may control this mount", "EPERM")
      }
      let request = try ControlFrame(message)
      if request.token != 0 { return try more(request) }
      return send(try run(request.text, context))
    } catch {
      return send(ControlJSON.encode(ControlAnswer<NoResult>(failure: error)))
    }
  }

  private func run(
    _ text: [UInt8], _ context: ControlContext?
  ) throws(ControlFailure) -> [UInt8] {
    let header = try ControlJSON.decode(ControlHeader.self, from: text)
    guard header.version == ControlProtocol.version else {
      throw ControlFailure(
        "version \(header.version) of the protocol is not known; this mount has version "
          + "\(ControlProtocol.version)", "EPROTONOSUPPORT")
    }
    guard let operation = operations.first(where: { $0.name == header.command }) else {
      let names = operations.map(\.name).joined(separator: ", ")
      throw ControlFailure(
        "there is no command '\(header.command.prefix(64))'; there are: \(names)", "EOPNOTSUPP")
    }
    if operation.needsWriting, let readOnlyReason {
      throw ControlFailure("the mount is read-only: \(readOnlyReason)", "EROFS")
    }
    return try operation.run(text, context)
  }

  // Answers that do not fit.

  private func send(_ text: [UInt8]) -> [UInt8] {
    if text.count <= ControlFrame.mostText { return ControlFrame(text: text).bytes }
    let token = pending.withLock { pending in
      pending.lastToken += 1
      pending.answers.append((pending.lastToken, text))
      pending.shrink(toBytes: mostPendingBytes)
      return pending.lastToken
    }
    return part(of: text, token, from: 0).bytes
  }

  private func more(_ request: ControlFrame) throws(ControlFailure) -> [UInt8] {
    let found = pending.withLock { pending in
      pending.answers.first { $0.token == request.token }?.text
    }
    guard let text = found else {
      throw ControlFailure("there is no answer with token \(request.token) any more", "ESTALE")
    }
    guard request.offset < text.count else {
      throw ControlFailure("the answer has \(text.count) bytes", "EINVAL")
    }
    let part = part(of: text, request.token, from: request.offset)
    if part.token == 0 {
      pending.withLock { $0.answers.removeAll { $0.token == request.token } }
    }
    return part.bytes
  }

  /// What fits of an answer; with token 0 when that is the end of it.
  private func part(of text: [UInt8], _ token: UInt64, from offset: Int) -> ControlFrame {
    let end = min(offset + ControlFrame.mostText, text.count)
    return ControlFrame(
      part: text[offset..<end], of: text.count, token: end < text.count ? token : 0,
      offset: offset)
  }
}
