import FSCore

/// A superblock in words.
struct SuperblockText {
  let superblock: Superblock

  func lines(_ style: TextStyle) -> [String] {
    let superblock = superblock
    var list = TextList()
    list.add("label", superblock.label.isEmpty ? "(none)" : superblock.label)
    list.add("uuid", "\(superblock.fsid)")
    if superblock.features.contains(.metadataUUID) {
      list.add("metadata uuid", "\(superblock.metadataUUID)")
    }
    list.add("generation", "\(superblock.generation)")
    list.add("size", size(superblock.totalBytes))
    list.add("used", size(superblock.bytesUsed))
    list.add("devices", "\(superblock.deviceCount)")
    list.add("sector size", "\(superblock.sectorSize)")
    list.add("node size", "\(superblock.nodeSize)")
    list.add(
      "checksum", superblock.checksumType?.name ?? "unknown (\(superblock.checksumTypeNumber))")
    list.add("flags", flags(superblock.flags.rawValue, SuperblockFlags.names))
    list.add("incompatible", flags(superblock.features.rawValue, IncompatibleFeatures.names))
    list.add(
      "read-only compatible",
      flags(superblock.readOnlyFeatures.rawValue, ReadOnlyCompatibleFeatures.names))
    list.add("root tree", "\(superblock.root), level \(superblock.rootLevel)")
    list.add(
      "chunk tree",
      "\(superblock.chunkRoot), level \(superblock.chunkRootLevel), "
        + "generation \(superblock.chunkRootGeneration)")
    list.add("log tree", superblock.logRoot == 0 ? "none" : "\(superblock.logRoot)")
    list.add("cache generation", generation(superblock.cacheGeneration))
    list.add("uuid tree generation", "\(superblock.uuidTreeGeneration)")
    return list.lines(style) + deviceLines(style)
  }

  private func deviceLines(_ style: TextStyle) -> [String] {
    var list = TextList()
    do throws(FilesystemError) {
      let device = try superblock.deviceItem
      list.add("device", "\(device.deviceID), uuid \(device.uuid)")
      list.add("device size", size(device.totalBytes))
      list.add("allocated", size(device.bytesUsed))
      for chunk in try superblock.systemChunks() {
        let places = chunk.item.stripes.map { "\($0.deviceID):\($0.offset)" }
        list.add(
          "system chunk",
          "\(chunk.start) + \(chunk.item.length) \(chunk.item.flags.profileName) at "
            + places.joined(separator: ", "))
      }
    } catch {
      list.add("damaged", "\(error)")
    }
    return [""] + list.lines(style)
  }

  private func size(_ bytes: UInt64) -> String { "\(bytes) (\(ByteCount.text(bytes)))" }

  private func generation(_ number: UInt64) -> String {
    switch number {
    case .max: "none yet"
    case 0: "0 (no v1 cache)"
    case superblock.generation.rawValue: "\(number)"
    default: "\(number) (stale)"
    }
  }

  private func flags(_ value: UInt64, _ names: [(bit: UInt64, name: String)]) -> String {
    let hexadecimal = "0x" + String(value, radix: 16)
    guard value != 0 else { return hexadecimal }
    let set = (0..<64).filter { value >> UInt64($0) & 1 == 1 }.map { bit in
      names.first { $0.bit == UInt64(bit) }?.name ?? "bit \(bit)"
    }
    return "\(hexadecimal) \(set.joined(separator: ", "))"
  }
}
