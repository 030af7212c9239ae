extension Superblock {
  /// Throws unless the superblock is one that this implementation can read.
  ///
  /// - Parameter deviceSize: in bytes.
  package func validate(deviceSize: UInt64) throws(FilesystemError) {
    guard magic == Format.magic else {
      throw .cannotMount("no btrfs superblock found: this is not a btrfs image")
    }
    guard let checksumType else {
      throw .cannotMount("unknown checksum type \(checksumTypeNumber)")
    }
    guard bytes.withUnsafeBytes({ checksumType.isSealed($0) }) else {
      throw .cannotMount("the superblock's checksum does not match: the image is damaged")
    }

    let unknown = features.rawValue & ~IncompatibleFeatures.known.rawValue
    if unknown != 0 {
      let names = Self.names(of: unknown, IncompatibleFeatures.names)
      throw .cannotMount("unsupported feature\(names)")
    }
    guard flags.subtracting(.known).isEmpty else {
      throw .cannotMount(
        "superblock flags 0x\(String(flags.rawValue, radix: 16)) are not supported")
    }

    guard sectorSize == 4096 else {
      throw .cannotMount("a sector size of \(sectorSize) bytes is not supported; only 4096 is")
    }
    guard nodeSize >= sectorSize, nodeSize <= 65536, nodeSize & (nodeSize - 1) == 0,
      leafSize == nodeSize
    else {
      throw .cannotMount("a damaged superblock: node size \(nodeSize)")
    }
    guard rootLevel <= Format.maximumLevel, chunkRootLevel <= Format.maximumLevel,
      root.rawValue % 4096 == 0, chunkRoot.rawValue % 4096 == 0, logRoot.rawValue % 4096 == 0,
      generation.rawValue < UInt64.max / 2, chunkRootGeneration <= generation
    else {
      throw .cannotMount("a damaged superblock: its tree roots make no sense")
    }
    guard deviceCount >= 1 else { throw .cannotMount("a damaged superblock: no device") }
    let device = try deviceItem
    guard device.totalBytes <= deviceSize else {
      throw .cannotMount(
        "the image is truncated: the file system has \(device.totalBytes) bytes, "
          + "the image \(deviceSize)")
    }
    guard device.bytesUsed <= device.totalBytes else {
      throw .cannotMount(
        "a damaged superblock: \(device.bytesUsed) of the device's \(device.totalBytes) bytes used")
    }
    guard !features.contains(.mixedGroups) || nodeSize == sectorSize else {
      throw .cannotMount("a damaged superblock: mixed groups with node size \(nodeSize)")
    }
    guard device.fsid == blockFSID else {
      throw .cannotMount("a damaged superblock: its device item is of another file system")
    }
    _ = try systemChunks()
  }

  /// ` NAME, NAME` for the bits of `flags`, unknown ones by number.
  package static func names(of flags: UInt64, _ known: [(bit: UInt64, name: String)]) -> String {
    let texts = (0..<64).filter { flags >> UInt64($0) & 1 == 1 }.map { bit in
      known.first { $0.bit == UInt64(bit) }?.name ?? "bit \(bit)"
    }
    return texts.count > 1 ? "s " + texts.joined(separator: ", ") : " " + texts.joined()
  }
}
