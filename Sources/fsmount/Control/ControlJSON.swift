import CFuse
import FoundationEssentials

/// Values as JSON text and back. Names are in snake_case there.
enum ControlJSON {
  /// - Parameter isForPeople: with line breaks and indents.
  static func encode(_ value: some Encodable, isForPeople: Bool = false) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    if isForPeople { encoder.outputFormatting.insert(.prettyPrinted) }
    // A number that JSON cannot write is the only thing that could be refused.
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    do {
      return [UInt8](try encoder.encode(value))
    } catch {
      preconditionFailure("a value cannot be encoded: \(error)")
    }
  }

  /// The text that `--json` prints.
  static func text(_ value: some Encodable) -> String {
    String(decoding: encode(value, isForPeople: true), as: UTF8.self)
  }

  /// Throws, with a sentence that says where, when the bytes are not such a value.
  static func decode<Value: Decodable>(
    _ type: Value.Type, from bytes: [UInt8]
  ) throws(ControlFailure) -> Value {
    // The decoder would also take UTF-16 and UTF-32, which have null bytes.
    guard !bytes.contains(0), String(validating: bytes, as: UTF8.self) != nil else {
      throw ControlFailure("the text is not UTF-8", "EILSEQ")
    }
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    do {
      return try decoder.decode(type, from: Data(bytes))
    } catch {
      throw ControlFailure(reason(error), "EINVAL")
    }
  }

  private static func reason(_ error: any Error) -> String {
    func place(_ path: [any CodingKey], _ last: (any CodingKey)? = nil) -> String {
      let names = (path + [last].compactMap { $0 }).map {
        $0.intValue.map { "\($0)" } ?? $0.stringValue
      }
      return names.isEmpty ? "the text" : "'\(names.joined(separator: "."))'"
    }
    switch error as? DecodingError {
    case .keyNotFound(let key, let context): return "\(place(context.codingPath, key)) is missing"
    case .valueNotFound(_, let context): return "\(place(context.codingPath)) is null"
    case .typeMismatch(_, let context):
      return "\(place(context.codingPath)) has a value of the wrong type"
    case .dataCorrupted(let context) where !context.codingPath.isEmpty:
      return "\(place(context.codingPath)): \(context.debugDescription)"
    default: return "the text is not valid JSON"
    }
  }
}

/// The name of an errno, `ENOSPC`.
enum ErrorName {
  static func of(_ code: Int32) -> String {
    guard let name = cfuse_error_name(code) else { return "E\(code)" }
    return String(cString: name)
  }
}
