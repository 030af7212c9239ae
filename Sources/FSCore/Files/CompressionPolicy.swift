/// How the data of one file are compressed while a batch of them is written back.
struct CompressionPlan {
  let method: CompressionMethod
  /// Try with everything, whatever it looks like.
  let isForced: Bool
  /// A piece that does not become shorter is remembered with the file.
  let isRemembered: Bool
  /// Such a piece was met: the rest of the batch is stored as it is.
  var isHopeless = false
  /// What the file's flags said of compression when the plan was made.
  let flags: InodeFlags

  /// The flags that are about compression.
  fileprivate static let about: InodeFlags = [.compress, .noCompress]

  /// Lets a file's flags say that compressing is of no use, unless somebody has asked for something
  /// else meanwhile.
  func remember(in flags: inout InodeFlags) {
    if flags.intersection(Self.about) == self.flags { flags.insert(.noCompress) }
  }
}

/// Says which files are compressed, and how: as Linux does.
///
/// 1. Files without copy on write or without checksums are never compressed.
/// 2. `compress-force` compresses all others. `compress` leaves out those with the flag NOCOMPRESS,
///    and without either only those with the flag COMPRESS are compressed.
/// 3. The algorithm is that of the file's property, else the mount's, else zlib; the level is the
///    mount's, as near as the algorithm has it.
/// 4. A file gets the flag NOCOMPRESS when a piece of several sectors did not become shorter though
///    it looked as if it would, unless it has a property or the mount compresses by force.
struct CompressionPolicy: Sendable {
  let mount: CompressionChoice?

  /// Takes no lock of the inode: the caller may be waited for by one who has them all.
  func plan(for inode: Inode) -> CompressionPlan? {
    let flags = inode.item.withLock { $0.flags }
    guard flags.isDisjoint(with: [.noDataCow, .noDataSum]) else { return nil }
    let isForced = mount?.isForced == true
    guard isForced || !flags.contains(.noCompress) else { return nil }
    guard mount != nil || flags.contains(.compress) else { return nil }

    // The flag is there wherever the property asks for compression.
    let property = flags.contains(.compress) ? Self.property(of: inode) : nil
    let algorithm = property ?? mount?.method.algorithm ?? .zlib
    return CompressionPlan(
      method: CompressionMethod(algorithm, level: mount?.method.level), isForced: isForced,
      isRemembered: !isForced && property == nil,
      flags: flags.intersection(CompressionPlan.about))
  }

  /// The algorithm that a file's property names. One that cannot be read does not keep data from
  /// being written.
  private static func property(of inode: Inode) -> FileExtentItem.Compression? {
    let value = try? ExtendedAttributes.valueWithoutLock(
      of: ExtendedAttributes.compressionProperty, inode)
    guard let value, let algorithm = FileExtentItem.Compression(property: value),
      algorithm != .none
    else { return nil }
    return algorithm
  }
}
