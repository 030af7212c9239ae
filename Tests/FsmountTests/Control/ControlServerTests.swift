import FSCore
import Testing

@testable import fsmount

/// A command of the tests' own: it says how long a text is to be.
private struct EchoCall: ControlCall {
  static let command = "echo"

  struct Answer: Codable, Sendable, Equatable {
    var text: String
  }

  var length: Int
  var manyWords: String?
}

private struct RefusedCall: ControlCall {
  static let command = "refused"
  typealias Answer = NoResult
}

@Suite(.timeLimit(.minutes(2))) struct ControlServerTests {
  private static let operations = [
    ControlOperation(EchoCall.self, "a text") { call in
      EchoCall.Answer(text: String(repeating: "ä", count: max(0, call.length)))
    },
    ControlOperation(RefusedCall.self, "refused", needsWriting: true) {
      (_) throws(ControlFailure) in throw ControlFailure(.busy("another one runs"))
    },
  ]
  private let server = ControlServer(Self.operations)

  /// The frames of an answer to `text`, as a client would collect them.
  private func exchange(
    _ text: [UInt8], isAllowed: Bool = true, _ server: ControlServer? = nil
  ) throws -> (text: [UInt8], frames: Int) {
    let server = server ?? self.server
    var frame = try answer(ControlFrame(text: text).bytes, isAllowed, server)
    var answer = frame.text
    var frames = 1
    while frame.token != 0 {
      try #require(frames < 1000)
      let more = ControlFrame(moreOf: frame.token, from: answer.count)
      frame = try self.answer(more.bytes, isAllowed, server)
      #expect(frame.offset == answer.count)
      answer += frame.text
      frames += 1
      #expect(frame.total >= answer.count)
    }
    return (answer, frames)
  }

  private func answer(
    _ message: [UInt8], _ isAllowed: Bool = true, _ server: ControlServer? = nil
  ) throws -> ControlFrame {
    let bytes = message.withUnsafeBytes {
      (server ?? self.server).answer($0, isAllowed: isAllowed)
    }
    #expect(bytes.count <= ControlFrame.size)
    return try bytes.withUnsafeBytes { bytes in
      Result { () throws(ControlFailure) in try ControlFrame(bytes) }
    }.get()
  }

  /// The errno of a refusal.
  private func errno(_ text: [UInt8], isAllowed: Bool = true) throws -> String? {
    let decoded = try ControlJSON.decode(
      ControlAnswer<NoResult>.self, from: exchange(text, isAllowed: isAllowed).text)
    #expect(!decoded.ok && decoded.result == nil && decoded.error?.isEmpty == false)
    return decoded.errno
  }

  private func errno(_ text: String, isAllowed: Bool = true) throws -> String? {
    try errno(Array(text.utf8), isAllowed: isAllowed)
  }

  @Test(arguments: [0, 1, 100, 6000, 100_000])
  func whatIsAskedIsAnswered(length: Int) throws {
    let request = ControlJSON.encode(ControlRequest(call: EchoCall(length: length)))
    let (text, frames) = try exchange(request)
    let decoded = try ControlJSON.decode(ControlAnswer<EchoCall.Answer>.self, from: text)
    #expect(decoded.ok && decoded.version == 1)
    #expect(decoded.result?.text.count == length)
    #expect(frames == (text.count + ControlFrame.mostText - 1) / ControlFrame.mostText)
  }

  /// What others send: fields in any order, and some that are not known.
  @Test func aRequestOfAnotherProgram() throws {
    let request = #" {"later":[1,{}], "length" : 2,"command":"echo","version":1} "#
    let (text, _) = try exchange(Array(request.utf8))
    #expect(String(decoding: text, as: UTF8.self).contains(#""text":"ää""#))
  }

  @Test func namesAreInSnakeCase() {
    let request = ControlJSON.encode(
      ControlRequest(call: EchoCall(length: 1, manyWords: "x")))
    #expect(
      String(decoding: request, as: UTF8.self)
        == #"{"command":"echo","length":1,"many_words":"x","version":1}"#)
  }

  @Test func theCommandsAreListed() throws {
    let (text, _) = try exchange(ControlJSON.encode(ControlRequest(call: CommandsCall())))
    let decoded = try ControlJSON.decode(ControlAnswer<CommandsCall.Answer>.self, from: text)
    #expect(decoded.result?.commands.map(\.name) == ["echo", "refused", "commands"])
  }

  @Test func refusals() throws {
    #expect(try errno(#"{"version":1,"command":"refused"}"#) == "EBUSY")
    #expect(try errno(#"{"version":2,"command":"echo"}"#) == "EPROTONOSUPPORT")
    #expect(try errno(#"{"version":1,"command":"nonsense"}"#) == "EOPNOTSUPP")
    #expect(try errno(#"{"version":1,"command":"echo"}"#) == "EINVAL")
    #expect(try errno(#"{"version":1,"command":"echo","length":"2"}"#) == "EINVAL")
    #expect(try errno(#"{"version":1,"command":"echo","length":2}"#, isAllowed: false) == "EPERM")

    let readOnly = ControlServer(Self.operations, readOnlyReason: "mounted so")
    let request = Array(#"{"version":1,"command":"refused"}"#.utf8)
    let text = String(decoding: try exchange(request, readOnly).text, as: UTF8.self)
    #expect(text.contains("EROFS") && text.contains("mounted so"))
  }

  private func exchange(
    _ text: [UInt8], _ server: ControlServer
  ) throws -> (text: [UInt8], frames: Int) {
    try exchange(text, isAllowed: true, server)
  }

  @Test(arguments: [
    "", " ", "{", "}", "null", "1", "[]", "\"version\"", "{}", "{\"version\":1}",
    "{\"version\":null,\"command\":\"echo\"}", "{\"version\":1e400,\"command\":\"echo\"}",
    "{\"version\":1.5,\"command\":\"echo\"}", "{\"version\":-9223372036854775809}",
    "{\"version\":1,\"command\":\"echo\",\"length\":99999999999999999999}",
    "{\"version\":1,\"command\":\"echo\",\"length\":1}x", "{\"version\":1,,}", "\u{feff}{}",
    "{\"version\":1,\"command\":\"\\ud800\"}", "{\"a\":\"\\u12\"}", "nul", "tru", "-", "1e", "\"",
    "{\"version\":1 \"command\":2}", "'", "//", "\0\0\0\0",
  ])
  func nonsenseIsRefused(_ text: String) throws {
    _ = try errno(text)
  }

  @Test func whatIsNotUTF8IsRefused() throws {
    #expect(try errno([0xff, 0xfe]) == "EILSEQ")
    #expect(
      try errno(Array(#"{"version":1,"command":""#.utf8) + [0xc0, 0x80, 0x22, 0x7d]) == "EILSEQ")
    // The same request in UTF-16.
    let wide = #"{"version":1,"command":"commands"}"#.utf16.flatMap { [UInt8($0 & 0xff), 0] }
    #expect(try errno(wide) == "EILSEQ")
  }

  @Test(arguments: ["[", "{\"a\":", "[[{\"b\":[", "[1,"])
  func depthIsRefused(_ piece: String) throws {
    let count = ControlFrame.mostText / piece.utf8.count
    #expect(try errno(String(repeating: piece, count: count)) == "EINVAL")
    // Inside a request that is right but for that.
    let half = count / 2 - 100
    let deep =
      "{\"version\":1,\"command\":\"echo\",\"length\":1,\"x\":"
      + String(repeating: "[", count: half) + String(repeating: "]", count: half) + "}"
    if deep.utf8.count <= ControlFrame.mostText { #expect(try errno(deep) == "EINVAL") }
  }

  /// Frames whose numbers lie.
  @Test func lengthsAreNotBelieved() throws {
    func refused(_ bytes: [UInt8]) throws -> Bool {
      let frame = try answer(bytes)
      return String(decoding: frame.text, as: UTF8.self).contains(#""ok":false"#)
    }
    for count in 0..<ControlFrame.headerSize {
      #expect(try refused([UInt8](repeating: 0xff, count: count)))
      #expect(try refused([UInt8](repeating: 0, count: count)))
    }
    for length in [UInt32(12_265), 12_288, 1 << 31, .max] {
      let bytes = withUnsafeBytes(of: length.littleEndian) { [UInt8]($0) }
      #expect(try refused(bytes + [UInt8](repeating: 0, count: ControlFrame.size - 4)))
    }
    #expect(try refused([UInt8](repeating: 0xff, count: ControlFrame.size)))
  }

  @Test func tokensAreNotBelieved() throws {
    for token in [UInt64(1), 7, .max] {
      let frame = try answer(ControlFrame(moreOf: token, from: 0).bytes)
      #expect(String(decoding: frame.text, as: UTF8.self).contains("ESTALE"))
    }
    let request = ControlJSON.encode(ControlRequest(call: EchoCall(length: 20_000)))
    let first = try answer(ControlFrame(text: request).bytes)
    #expect(first.token != 0 && first.text.count == ControlFrame.mostText)
    for offset in [first.total, first.total + 1, Int(UInt32.max)] {
      let frame = try answer(ControlFrame(moreOf: first.token, from: offset).bytes)
      #expect(String(decoding: frame.text, as: UTF8.self).contains("EINVAL"))
    }
    let denied = try answer(ControlFrame(moreOf: first.token, from: 0).bytes, false)
    #expect(String(decoding: denied.text, as: UTF8.self).contains("EPERM"))
    // Unfinished answers do not pile up: the oldest goes.
    for _ in 0..<8 { _ = try answer(ControlFrame(text: request).bytes) }
    let gone = try answer(ControlFrame(moreOf: first.token, from: first.text.count).bytes)
    #expect(String(decoding: gone.text, as: UTF8.self).contains("ESTALE"))
  }

  /// Unfinished answers have bounded memory, and the last one can be read whatever its length.
  @Test func longAnswersGoEarlier() throws {
    let server = ControlServer(Self.operations, mostPendingBytes: 1 << 20)
    func begin(_ kilobytes: Int) throws -> ControlFrame {
      let request = ControlJSON.encode(ControlRequest(call: EchoCall(length: kilobytes << 9)))
      return try answer(ControlFrame(text: request).bytes, true, server)
    }
    func isThere(_ frame: ControlFrame) throws -> Bool {
      let more = ControlFrame(moreOf: frame.token, from: frame.text.count).bytes
      return try answer(more, true, server).total == frame.total
    }
    let first = try begin(400)
    let second = try begin(400)
    #expect(try isThere(first) && isThere(second))
    let third = try begin(400)
    #expect(try !isThere(first) && isThere(second) && isThere(third))
    let fourth = try begin(1300)
    #expect(try !isThere(second) && !isThere(third) && isThere(fourth))
  }

  /// Requests with a byte changed, taken away or doubled.
  @Test func mutations() throws {
    let request = Array(#"{"version":1,"command":"echo","length":3,"many_words":"\u00e4"}"#.utf8)
    for index in request.indices {
      for byte in [0x00, 0x22, 0x5b, 0x5c, 0x7b, 0x7d, 0x80, 0xff] as [UInt8] {
        var changed = request
        changed[index] = byte
        _ = try exchange(changed)
      }
      _ = try exchange(Array(request[..<index]))
      _ = try exchange(Array(request[index...]))
      _ = try exchange(Array(request[...index] + request[index...]))
    }
  }
}
