extension BalanceFilter {
  /// Reads filters as btrfs writes them: `usage=50,limit=2..10,convert=single,soft`. An empty text
  /// is no filter. Throws `.invalidArgument` with what is wrong and what would be right.
  ///
  /// Numbers are decimal; `usage`, `limit`, `drange`, `vrange` and `stripes` take a range `a..b`,
  /// of which either end may be left out. `profiles` takes names divided by `|`.
  package init(text: String) throws(FilesystemError) {
    self.init()
    guard !text.isEmpty else { return }
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = String(pair[0])
      try take(name, pair.count > 1 ? String(pair[1]) : nil)
    }
    if deviceRange != nil, device == nil {
      throw .invalidArgument("the filter drange needs devid as well")
    }
    if isSoft, target == nil { throw .invalidArgument("the filter soft needs convert as well") }
  }

  private mutating func take(_ name: String, _ value: String?) throws(FilesystemError) {
    if name == "soft" {
      guard value == nil else { throw .invalidArgument("the filter soft takes no value") }
      isSoft = true
      return
    }
    let names = ["usage", "limit", "profiles", "devid", "drange", "vrange", "convert", "stripes"]
    guard names.contains(name) else {
      throw .invalidArgument(
        "unknown balance filter '\(name)'; there are \(names.joined(separator: ", ")), soft")
    }
    guard let value, !value.isEmpty else {
      throw .invalidArgument("the filter \(name) needs a value: \(name)=…")
    }
    switch name {
    case "usage": usage = try Self.usage(value)
    case "limit": limit = try Self.limit(value)
    case "profiles":
      profiles = []
      for profile in value.split(separator: "|", omittingEmptySubsequences: false) {
        profiles?.insert(try Self.profile(name, String(profile)))
      }
    case "devid":
      guard let id = UInt64(value), id > 0 else {
        throw .invalidArgument("devid=\(value): a device number is a whole number from 1")
      }
      device = DeviceID(id)
    case "drange": deviceRange = try Self.addresses(name, value)
    case "vrange": range = try Self.addresses(name, value)
    case "convert": target = try Self.profile(name, value)
    default:
      let (low, high) = try Self.bounds(name, value)
      // Every group that can be written here has one device.
      guard (low ?? 0) <= 1, (high ?? .max) >= 1 else {
        throw .invalidArgument("stripes=\(value): all block groups have one device")
      }
    }
  }

  private static func profile(
    _ name: String, _ value: String
  ) throws(FilesystemError) -> Profile {
    switch value.lowercased() {
    case "single": return .single
    case "dup": return .dup
    default:
      throw .invalidArgument("\(name)=\(value): on one device a profile is single or dup")
    }
  }

  private static func usage(_ value: String) throws(FilesystemError) -> Range<UInt32> {
    let (low, high) = try bounds("usage", value)
    let upper = high ?? 101
    guard (low ?? 0) <= 100, upper <= (high == nil ? 101 : 100) else {
      throw .invalidArgument("usage=\(value): a percentage goes from 0 to 100")
    }
    // One number is what a group is to be below.
    let isSingle = !value.contains("..")
    return isSingle ? 0..<UInt32(upper) : UInt32(low ?? 0)..<UInt32(upper)
  }

  private static func limit(_ value: String) throws(FilesystemError) -> ClosedRange<UInt32> {
    let (low, high) = try bounds("limit", value)
    let isSingle = !value.contains("..")
    let lower = isSingle ? 0 : UInt32(exactly: low ?? 0)
    guard let lower, let upper = UInt32(exactly: high ?? UInt64(UInt32.max)) else {
      throw .invalidArgument("limit=\(value): that many block groups there cannot be")
    }
    return lower...upper
  }

  private static func addresses(
    _ name: String, _ value: String
  ) throws(FilesystemError) -> Range<UInt64> {
    guard value.contains("..") else {
      throw .invalidArgument("\(name)=\(value): a range is written start..end, in bytes")
    }
    let (low, high) = try bounds(name, value)
    let range = (low ?? 0)..<(high ?? .max)
    guard !range.isEmpty else {
      throw .invalidArgument("\(name)=\(value): the range is empty; its end is not a part of it")
    }
    return range
  }

  /// Both ends of `a..b`, nil where one is left out; of a single number both.
  private static func bounds(
    _ name: String, _ value: String
  ) throws(FilesystemError) -> (UInt64?, UInt64?) {
    func number(_ text: Substring) throws(FilesystemError) -> UInt64? {
      if text.isEmpty { return nil }
      guard text.allSatisfy(\.isASCII), let number = UInt64(text), !text.hasPrefix("+") else {
        throw .invalidArgument("\(name)=\(value): '\(text)' is not a whole number")
      }
      return number
    }
    guard let dots = value.firstRange(of: "..") else {
      let single = try number(value[...])
      return (single, single)
    }
    let low = try number(value[..<dots.lowerBound])
    let high = try number(value[dots.upperBound...])
    guard low != nil || high != nil else {
      throw .invalidArgument("\(name)=\(value): a range needs one end at least")
    }
    if let low, let high, low > high {
      throw .invalidArgument("\(name)=\(value): the range ends before it begins")
    }
    return (low, high)
  }
}
