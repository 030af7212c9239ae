import FSCore

/// One request or answer of the control channel, as the ioctl carries it: a header, and JSON text
/// or a part of it. All numbers are little-endian.
///
/// | off | size | in a request | in an answer |
/// |---|---|---|---|
/// | 0 | 4 | bytes of text that follow the header | the same |
/// | 4 | 4 | 0 | bytes of the whole answer |
/// | 8 | 8 | 0, or the token of an answer of which more is wanted | 0, or the token, when there is more |
/// | 16 | 4 | with a token: where in the answer to go on | where in the answer this text stands |
/// | 20 | 4 | 0 | 0 |
struct ControlFrame: Equatable {
  static let size = 12 << 10
  static let headerSize = 24
  static let mostText = size - headerSize

  var text: [UInt8] = []
  var total = 0
  var token: UInt64 = 0
  var offset = 0

  init(text: [UInt8]) {
    self.text = text
    total = text.count
  }

  /// A request for the rest of an answer.
  init(moreOf token: UInt64, from offset: Int) {
    self.token = token
    self.offset = offset
  }

  /// A part of a whole answer.
  init(part: ArraySlice<UInt8>, of total: Int, token: UInt64, offset: Int) {
    text = Array(part)
    self.total = total
    self.token = token
    self.offset = offset
  }

  /// Throws when the bytes are no frame; what stands behind the text is not looked at.
  init(_ bytes: UnsafeRawBufferPointer) throws(ControlFailure) {
    guard bytes.count >= Self.headerSize else {
      throw ControlFailure("a message of \(bytes.count) bytes has no header", "EINVAL")
    }
    func number<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, _: T.Type) -> T {
      T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
    }
    let length = number(0, UInt32.self)
    guard length <= bytes.count - Self.headerSize else {
      throw ControlFailure(
        "the text has \(length) bytes, but the message has room for "
          + "\(bytes.count - Self.headerSize)", "EINVAL")
    }
    total = Int(number(4, UInt32.self))
    token = number(8, UInt64.self)
    offset = Int(number(16, UInt32.self))
    text = Array(bytes[Self.headerSize..<Self.headerSize + Int(length)])
  }

  /// The header and the text.
  var bytes: [UInt8] {
    precondition(text.count <= Self.mostText)
    func bytes(_ number: some FixedWidthInteger) -> [UInt8] {
      withUnsafeBytes(of: number.littleEndian) { [UInt8]($0) }
    }
    return bytes(UInt32(text.count)) + bytes(UInt32(total)) + bytes(token)
      + bytes(UInt32(offset)) + bytes(UInt32(0)) + text
  }
}

/// Why a request was refused: a sentence for people, and the name of an errno for programs.
struct ControlFailure: Error, Equatable, CustomStringConvertible {
  let description: String
  let errno: String

  init(_ description: String, _ errno: String) {
    self.description = description
    self.errno = errno
  }

  init(_ error: FilesystemError) {
    self.init("\(error)", ErrorName.of(error.errno))
  }

  /// Runs `body`; its error becomes a refusal.
  static func telling<R>(
    _ body: () throws(FilesystemError) -> R
  ) throws(ControlFailure) -> R {
    do throws(FilesystemError) {
      return try body()
    } catch {
      throw ControlFailure(error)
    }
  }
}
