import Glibc

/// A path as Linux has it: bytes, no encoding.
package struct BytePath: Hashable, Sendable, Comparable, CustomStringConvertible {
  /// Without the closing NUL.
  package var bytes: [UInt8]

  package init(_ bytes: [UInt8]) { self.bytes = bytes }
  package init(_ text: String) { bytes = Array(text.utf8) }

  package func appending(_ name: [UInt8]) -> BytePath {
    if bytes.isEmpty { return BytePath(name) }
    var joined = bytes
    joined.reserveCapacity(bytes.count + name.count + 1)
    joined.append(UInt8(ascii: "/"))
    joined.append(contentsOf: name)
    return BytePath(joined)
  }

  package func appending(_ name: String) -> BytePath { appending(Array(name.utf8)) }

  package func appending(_ path: BytePath) -> BytePath {
    path.bytes.isEmpty ? self : appending(path.bytes)
  }

  package var lastComponent: [UInt8] {
    guard let slash = bytes.lastIndex(of: UInt8(ascii: "/")) else { return bytes }
    return Array(bytes[(slash + 1)...])
  }

  package var parent: BytePath {
    guard let slash = bytes.lastIndex(of: UInt8(ascii: "/")) else { return BytePath([]) }
    return BytePath(Array(bytes[..<slash]))
  }

  /// Whether this is `other` or lies below it.
  package func isInside(_ other: BytePath) -> Bool {
    if other.bytes.isEmpty { return true }
    guard bytes.starts(with: other.bytes) else { return false }
    return bytes.count == other.bytes.count || bytes[other.bytes.count] == UInt8(ascii: "/")
  }

  package func withCPath<Result>(_ body: (UnsafePointer<CChar>) throws -> Result) rethrows
    -> Result
  {
    var terminated = bytes
    terminated.append(0)
    return try terminated.withUnsafeBytes { raw in
      try raw.withMemoryRebound(to: CChar.self) { try body($0.baseAddress!) }
    }
  }

  /// Printable ASCII as it is, all else as `\xNN`; a long run of one letter is shortened.
  package var description: String { printable(bytes) }

  package var string: String { String(decoding: bytes, as: UTF8.self) }

  package static func < (left: BytePath, right: BytePath) -> Bool {
    left.bytes.lexicographicallyPrecedes(right.bytes)
  }
}

package func printable(_ bytes: [UInt8]) -> String {
  var text = ""
  var index = 0
  while index < bytes.count {
    let byte = bytes[index]
    var run = index
    while run < bytes.count, bytes[run] == byte { run += 1 }
    let shown: String
    if byte > 32, byte < 127, byte != UInt8(ascii: "\\") {
      shown = String(UnicodeScalar(byte))
    } else {
      shown = "\\x" + hexadecimal(UInt64(byte), digits: 2)
    }
    if run - index > 8 {
      text += "\(shown){\(run - index)}"
      index = run
    } else {
      text += shown
      index += 1
    }
  }
  return text
}

package func hexadecimal(_ value: UInt64, digits: Int = 16) -> String {
  let text = String(value, radix: 16)
  return String(repeating: "0", count: max(0, digits - text.count)) + text
}
