/// Where the first block groups stand. The places and lengths are those that mkfs.btrfs chooses
/// (which leaves gaps where it had temporary ones), so that what is tuned for its images fits
/// ours too.
extension MakeFilesystem {
  private static let mebibyte: UInt64 = 1 << 20

  /// The chunks by ascending address: one of the system, and one each for metadata and data, or
  /// one for both.
  static func layout(
    _ choices: Choices, sizeBytes: UInt64
  ) throws(FilesystemError) -> [Chunk] {
    guard sizeBytes >= smallestSize else {
      throw .invalidArgument(
        "a file system needs at least \(ByteCount.exactText(smallestSize)), "
          + "not \(ByteCount.text(sizeBytes))")
    }
    var layout = Layout(choices: choices, sizeBytes: sizeBytes)
    if choices.isMixed {
      layout.addMixed()
    } else {
      layout.addSeparate()
    }
    return layout.chunks.sorted { $0.start < $1.start }
  }

  private struct Layout {
    let choices: Choices
    let sizeBytes: UInt64
    var chunks: [Chunk] = []
    /// Where the next chunk goes, in either address space.
    var logical: UInt64 = 0
    var physical: UInt64 = 0

    mutating func addSeparate() {
      switch (choices.metadata, choices.data) {
      case (.dup, .single):
        begin(at: 13 * mebibyte)
        add(.data, .single, 8 * mebibyte)
        add(.system, .dup, 8 * mebibyte)
        add(.metadata, .dup, metadataLength)
      case (.dup, .dup):
        begin(at: 21 * mebibyte)
        add(.system, .dup, 8 * mebibyte)
        add(.metadata, .dup, metadataLength)
        add(.data, .dup, dataLength)
      case (.single, _):
        begin(at: mebibyte)
        add(.system, .single, 4 * mebibyte)
        add(.metadata, .single, 8 * mebibyte)
        if choices.data == .single {
          add(.data, .single, 8 * mebibyte)
        } else {
          begin(at: 21 * mebibyte)
          add(.data, .dup, dataLength)
        }
      }
    }

    mutating func addMixed() {
      switch choices.data {
      case .single:
        begin(at: mebibyte)
        add(.system, .single, 4 * mebibyte)
        add([.data, .metadata], .single, 8 * mebibyte)
      case .dup:
        begin(at: 13 * mebibyte)
        add(.system, .dup, 8 * mebibyte)
        add([.data, .metadata], .dup, dataLength)
      }
    }

    private mutating func begin(at address: UInt64) {
      logical = address
      physical = address
    }

    private mutating func add(_ type: BlockGroupFlags, _ profile: Profile, _ length: UInt64) {
      var stripes: [ChunkItem.Stripe] = []
      for _ in 0..<profile.copies {
        stripes.append(
          ChunkItem.Stripe(
            deviceID: 1, offset: PhysicalAddress(physical),
            deviceUUID: choices.identities.device))
        physical += length
      }
      let item = ChunkItem(
        length: length, flags: type.union(profile.flags),
        sectorSize: UInt32(MakeFilesystem.sectorSize), stripes: stripes)
      chunks.append(Chunk(start: LogicalAddress(logical), item: item))
      logical += length
    }

    /// A twentieth of the device, as two copies take a tenth.
    private var share: UInt64 { (sizeBytes / 20).roundedDown(to: Format.stripeLength) }

    private var metadataLength: UInt64 {
      let longest: UInt64 = sizeBytes > 50 << 30 ? 1 << 30 : 256 * mebibyte
      return min(max(share, 32 * mebibyte), longest)
    }

    /// Of duplicated data, or mixed. On devices that mkfs.btrfs finds too small the group is
    /// made small enough to leave room for more.
    private var dataLength: UInt64 {
      let length = min(max(share, 64 * mebibyte), 1 << 30)
      let left = sizeBytes - physical
      guard left < 2 * length + 16 * mebibyte else { return length }
      return max((left / 4).roundedDown(to: Format.stripeLength), 8 * mebibyte)
    }
  }
}
