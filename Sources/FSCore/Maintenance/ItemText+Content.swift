/// What items say. Sizes are checked here again: a log tree's leaf, for one, is shown as it is.
extension ItemText {
  /// The content of an item in words; empty when it has none.
  package static func content(
    _ key: Key, _ bytes: RawSpan, _ geometry: Geometry
  ) -> String {
    do throws(FilesystemError) {
      return try describe(key, bytes, geometry)
    } catch {
      return "\(error)"
    }
  }

  private static func describe(
    _ key: Key, _ bytes: RawSpan, _ geometry: Geometry
  ) throws(FilesystemError) -> String {
    switch key.type {
    case .untyped where key.objectID == .freeSpace: return cache(try FreeSpaceHeader(bytes))
    case .inodeItem: return inode(try InodeItem(bytes))
    case .inodeRef: return try inodeReferences(bytes, fixedSize: 10)
    case .inodeExtref: return try inodeReferences(bytes, fixedSize: 18)
    case .dirItem, .dirIndex, .xattrItem: return try entries(bytes)
    case .extentData: return fileExtent(try FileExtentItem(bytes), bytes)
    case .extentCsum: return checksums(key, bytes, geometry)
    case .rootItem: return root(try RootItem(bytes))
    case .rootRef, .rootBackref:
      let reference = try RootReference(bytes)
      return "\(quoted(reference.name)) in directory \(reference.directory), "
        + "index \(reference.index)"
    case .extentItem, .metadataItem: return try extent(key, bytes)
    case .extentDataRef: return try dataReference(bytes, at: 0)
    case .sharedDataRef: return try "from \(number(bytes, 0, 4)) items"
    case .blockGroupItem:
      let item = try BlockGroupItem(bytes)
      return "\(item.flags.typeName) \(item.flags.profileName), \(ByteCount.text(item.used)) used"
    case .devExtent:
      let item = try DeviceExtent(bytes)
      return "\(ByteCount.text(item.length)) of chunk \(item.chunkOffset)"
    case .devItem: return device(try DeviceItem(bytes))
    case .chunkItem: return chunk(try ChunkItem(bytes))
    case .uuidSubvolume: return try "subvolume \(number(bytes, 0, 8))"
    case .freeSpaceInfo: return freeSpace(try FreeSpaceInfo(bytes))
    case .freeSpaceBitmap: return freeSpace(bytes, geometry)
    default: return bytes.byteCount == 0 ? "" : "\(bytes.byteCount) bytes"
    }
  }

  /// A number of `size` bytes.
  private static func number(
    _ bytes: RawSpan, _ offset: Int, _ size: Int
  ) throws(FilesystemError) -> UInt64 {
    guard offset + size <= bytes.byteCount else { throw .corrupt("the item is too short") }
    return size == 4 ? UInt64(bytes.u32(offset)) : bytes.u64(offset)
  }

  private static func cache(_ header: FreeSpaceHeader) -> String {
    "cache in inode \(header.location.objectID), generation \(header.generation), "
      + "\(header.entryCount) entries, \(header.bitmapCount) of them bitmaps"
  }

  private static func freeSpace(_ info: FreeSpaceInfo) -> String {
    let others = info.flags & ~FreeSpaceInfo.usingBitmaps
    return "\(info.extentCount) free ranges as \(info.usesBitmaps ? "bitmaps" : "extents")"
      + (others == 0 ? "" : ", unknown flags \(others)")
  }

  private static func freeSpace(_ bitmap: RawSpan, _ geometry: Geometry) -> String {
    var count: UInt64 = 0
    for index in 0..<bitmap.byteCount { count += UInt64(bitmap.u8(index).nonzeroBitCount) }
    return "\(ByteCount.text(count * geometry.sectorSize)) free"
  }

  private static func inode(_ item: InodeItem) -> String {
    let kind = EntryType(mode: item.mode).map { "\($0)" } ?? "unknown"
    var text = "\(kind) mode \(String(item.mode, radix: 8)), \(item.linkCount) links, "
    text += "owner \(item.uid):\(item.gid), size \(item.size), \(item.nbytes) bytes stored, "
    text += "generation \(item.generation), changed in \(item.transactionID)"
    if item.flags.rawValue != 0 { text += ", flags 0x\(String(item.flags.rawValue, radix: 16))" }
    if item.rdev != 0 { text += ", device \(item.rdev >> 20):\(item.rdev & 0xfffff)" }
    return text + ", mtime \(item.mtime.seconds)"
  }

  private static func inodeReferences(
    _ bytes: RawSpan, fixedSize: Int
  ) throws(FilesystemError) -> String {
    var parts: [String] = []
    var at = 0
    while at < bytes.byteCount {
      guard at + fixedSize <= bytes.byteCount,
        at + fixedSize + Int(bytes.u16(at + fixedSize - 2)) <= bytes.byteCount
      else { throw .corrupt("a reference is cut off") }
      let length = Int(bytes.u16(at + fixedSize - 2))
      var text = quoted(bytes.array(at + fixedSize, length)) + " index "
      text += "\(bytes.u64(at + fixedSize - 10))"
      if fixedSize == 18 { text += " in \(bytes.u64(at))" }
      parts.append(text)
      at += fixedSize + length
    }
    return parts.joined(separator: ", ")
  }

  private static func entries(_ bytes: RawSpan) throws(FilesystemError) -> String {
    try DirectoryEntry.all(in: bytes).map { entry in
      guard entry.type != .extendedAttribute else {
        return "\(quoted(entry.name)) = \(quoted(Array(entry.value.prefix(40))))"
          + (entry.value.count > 40 ? "... (\(entry.value.count) bytes)" : "")
      }
      let target = entry.location.type == .rootItem ? "subvolume" : "inode"
      return "\(quoted(entry.name)) \(entry.type), \(target) \(entry.location.objectID)"
    }.joined(separator: "; ")
  }

  private static func fileExtent(_ item: FileExtentItem, _ bytes: RawSpan) -> String {
    let compression = item.compression == .none ? "" : ", \(item.compression)"
    let generation = ", generation \(item.generation)"
    if item.kind == .inline {
      let stored = bytes.byteCount - FileExtentItem.inlineHeaderSize
      return "inline, \(stored) bytes stored for \(item.ramBytes)\(compression)\(generation)"
    }
    if item.isHole { return "hole of \(item.length)\(generation)" }
    return "\(item.kind) \(item.length) bytes from \(item.offset) of extent "
      + "\(item.diskAddress) + \(item.diskLength) (\(item.ramBytes))\(compression)\(generation)"
  }

  private static func checksums(_ key: Key, _ bytes: RawSpan, _ geometry: Geometry) -> String {
    let count = bytes.byteCount / geometry.checksumType.size
    return "\(count) sectors, \(ByteCount.text(UInt64(count) * geometry.sectorSize))"
  }

  private static func root(_ item: RootItem) -> String {
    var text = "root block \(item.address), level \(item.level), generation \(item.generation), "
    text += "\(item.references) references"
    if item.lastSnapshot != 0 { text += ", last snapshot \(item.lastSnapshot)" }
    if item.flags != 0 { text += ", flags 0x\(String(item.flags, radix: 16))" }
    if item.uuid != .zero { text += ", uuid \(item.uuid)" }
    return text
  }

  private static func extent(_ key: Key, _ bytes: RawSpan) throws(FilesystemError) -> String {
    let flags = try number(bytes, 16, 8)
    let isData = flags & 1 != 0
    var text = isData ? "data" : "tree block"
    if flags & 0x100 != 0 { text += " with full back references" }
    text += try ", \(number(bytes, 0, 8)) references, generation \(number(bytes, 8, 8))"

    var at = 24
    if !isData, key.type == .extentItem { at += 18 }
    while at < bytes.byteCount {
      let type = bytes.u8(at)
      switch ItemType(type) {
      case .treeBlockRef:
        text += try "; tree \(number(bytes, at + 1, 8))"
        at += 9
      case .sharedBlockRef:
        text += try "; node \(number(bytes, at + 1, 8))"
        at += 9
      case .extentDataRef:
        text += try "; " + dataReference(bytes, at: at + 1)
        at += 29
      case .sharedDataRef:
        text += try "; leaf \(number(bytes, at + 1, 8)) x \(number(bytes, at + 9, 4))"
        at += 13
      default:
        return text + "; unknown reference type \(type)"
      }
    }
    return text
  }

  private static func dataReference(
    _ bytes: RawSpan, at: Int
  ) throws(FilesystemError) -> String {
    let offset = Int64(bitPattern: try number(bytes, at + 16, 8))
    return try "file \(number(bytes, at, 8))/\(number(bytes, at + 8, 8)) at \(offset) x "
      + "\(number(bytes, at + 24, 4))"
  }

  private static func device(_ item: DeviceItem) -> String {
    "device \(item.deviceID), \(ByteCount.text(item.totalBytes)), "
      + "\(ByteCount.text(item.bytesUsed)) allocated, uuid \(item.uuid)"
  }

  private static func chunk(_ item: ChunkItem) -> String {
    let places = item.stripes.map { "\($0.deviceID):\($0.offset)" }
    return "\(item.flags.typeName) \(item.flags.profileName), \(ByteCount.text(item.length)) at "
      + places.joined(separator: ", ")
  }
}
