/// An algorithm and how hard it is to try.
package struct CompressionMethod: Sendable, Equatable {
  package var algorithm: FileExtentItem.Compression
  /// 0 where there are no levels.
  package var level: Int

  /// - Parameter level: nil, or 0 as with Linux, for the usual one. One that the algorithm does not
  ///   have becomes the nearest that it has.
  package init(_ algorithm: FileExtentItem.Compression, level: Int? = nil) {
    self.algorithm = algorithm
    let levels = algorithm.levels
    let wanted = level ?? 0
    self.level =
      wanted == 0 ? algorithm.usualLevel : min(max(wanted, levels.lowerBound), levels.upperBound)
  }

  /// What a mount option's value says, `zstd:3` for instance; nil when there is no such algorithm,
  /// or no such level of it.
  package init?(option text: String) {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard let algorithm = FileExtentItem.Compression(name: parts[0]) else { return nil }
    guard parts.count == 2 else {
      self.init(algorithm)
      return
    }
    guard algorithm != .lzo, let level = Int(parts[1]),
      level == 0 || algorithm.levels.contains(level)
    else {
      return nil
    }
    self.init(algorithm, level: level)
  }
}

/// How a mount compresses what is written to files that do not say it themselves.
package struct CompressionChoice: Sendable, Equatable {
  package var method: CompressionMethod
  /// Try with everything, whatever was seen of a file before.
  package var isForced: Bool

  package init(_ method: CompressionMethod, isForced: Bool) {
    self.method = method
    self.isForced = isForced
  }
}

extension FileExtentItem.Compression {
  static let algorithms: [Self] = [.zlib, .lzo, .zstd]

  /// As mount options and properties have it.
  package var name: String {
    switch self {
    case .none: "none"
    case .zlib: "zlib"
    case .lzo: "lzo"
    case .zstd: "zstd"
    }
  }

  /// The algorithm of that name; nil when there is none.
  init?(name: some StringProtocol) {
    guard let found = Self.algorithms.first(where: { $0.name == name }) else { return nil }
    self = found
  }

  /// What the value of a compression property names. As with Linux only its beginning counts: what
  /// follows may be a level, which means nothing. `.none` says that nothing is to be compressed; nil
  /// is for a value that a property cannot have.
  init?(property value: [UInt8]) {
    if value == Array("no".utf8) || value == Array("none".utf8) {
      self = .none
      return
    }
    guard let found = Self.algorithms.first(where: { value.starts(with: $0.name.utf8) }) else {
      return nil
    }
    self = found
  }

  /// Levels that there are, but for 0, which stands for the usual one.
  fileprivate var levels: ClosedRange<Int> {
    switch self {
    case .zlib: 1...9
    case .zstd: -15...15
    case .none, .lzo: 0...0
    }
  }

  fileprivate var usualLevel: Int {
    switch self {
    case .zlib, .zstd: 3
    case .none, .lzo: 0
    }
  }

  /// What an image is to say that has extents compressed so.
  var feature: IncompatibleFeatures {
    switch self {
    case .lzo: .compressLZO
    case .zstd: .compressZSTD
    case .none, .zlib: []
    }
  }
}
