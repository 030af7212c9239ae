import FreeSpace

/// The cache file: its inode, where its content stands, and what that says.
extension CacheSurvey {
  /// Follows the header to the file and holds it against all that makes it believable. Returns
  /// what the cache says, nil unless it is whole.
  func readCache(
    _ header: FreeSpaceHeader, _ group: inout Group, keepingEntries: Bool
  ) -> FreeSpaceIndex? {
    guard header.location.type == .inodeItem, header.location.offset == 0,
      header.location.objectID >= .firstFree, header.location.objectID <= .lastFree
    else {
      group.find(.wrong, "its header leads to no inode: \(header.location)")
      return nil
    }
    readFile(header.location.objectID, &group)
    guard let file = group.file else {
      group.find(.wrong, "its inode \(header.location.objectID) is missing")
      return nil
    }
    checkInode(file.inode, header, &group)
    // The file of one that was given up may be half-made, or empty.
    guard group.verdict != .givenUp else { return nil }
    guard let pages = readPages(file, &group) else { return nil }

    let counts: CacheHeader = (
      header.generation.rawValue, header.entryCount, header.bitmapCount
    )
    let inspection = CacheInspection.inspect(
      pages: pages.readable, header: counts, crc32c: FormatHash.crc32c)
    if let inspection {
      summarise(inspection, &group)
      if keepingEntries { group.entries = inspection.entries }
    }
    return decode(pages, counts, &group)
  }

  private func readFile(_ number: ObjectID, _ group: inout Group) {
    var file: CacheFile?
    note { () throws(FilesystemError) in
      try reader.walk(
        reader.rootOfRootTree, from: Key(number, .inodeItem, 0),
        through: Key(number, .extentData, .max)
      ) { (key, bytes) throws(FilesystemError) in
        if key.type == .inodeItem {
          file = CacheFile(number: number, inode: try InodeItem(bytes))
        } else if key.type == .extentData, file != nil {
          file?.extents.append(key.offset, try FileExtentItem(bytes))
        }
        return file?.extents.isFull != true
      }
    }
    group.file = file
  }

  private func checkInode(
    _ inode: InodeItem, _ header: FreeSpaceHeader, _ group: inout Group
  ) {
    if inode.generation == 0 {
      group.find(.givenUp, "the inode's generation is 0")
    } else if inode.generation != header.generation {
      group.find(
        .stale, "the inode's generation is \(inode.generation), the header's \(header.generation)")
    }
    if inode.mode != 0o100600 {
      group.find(.wrong, "its inode has mode \(String(inode.mode, radix: 8)), not 100600")
    }
    if !inode.flags.isSuperset(of: [.noDataSum, .noDataCow]) {
      group.find(.stale, "its inode has the flags of an old kind of cache")
    }
  }

  /// The file's bytes, nil (and a reason) when they cannot be had.
  private func readPages(_ file: CacheFile, _ group: inout Group) -> AlignedBuffer? {
    if let fault = file.extents.fault(size: file.inode.size) {
      group.find(.wrong, fault)
      return nil
    }

    let buffer = AlignedBuffer(count: Int(file.inode.size))
    for (offset, extent) in file.extents.items {
      do throws(FilesystemError) {
        let part = buffer.bytes.part(Int(offset), Int(extent.length))
        try reader.device.read(into: part, at: extent.diskAddress + extent.offset)
      } catch .onOtherDevice {
        group.find(.elsewhere, "its file is wholly or partly on other devices")
        return nil
      } catch {
        group.find(.wrong, "its file cannot be read: \(error)")
        return nil
      }
    }
    return buffer
  }

  /// What the entries add up to, whether or not they are to be believed.
  private func summarise(_ inspection: CacheInspection, _ group: inout Group) {
    let used = inspection.pages.prefix(inspection.usedPageCount)
    group.pages = Pages(
      count: inspection.pages.count, usedCount: used.count,
      bad: used.filter { !$0.isValid }.map(\.page), generation: inspection.generation)

    var free: UInt64 = 0
    var largest: UInt64 = 0
    for listed in inspection.entries {
      free = free.addingReportingOverflow(listed.entry.bytes).partialValue
      if listed.entry.kind == .extent { largest = max(largest, listed.entry.bytes) }
    }
    group.freeBytes = free
    group.largestRun = largest
  }

  private func decode(
    _ pages: AlignedBuffer, _ counts: CacheHeader, _ group: inout Group
  ) -> FreeSpaceIndex? {
    let taken = group.used.addingReportingOverflow(group.excludedBytes)
    guard !taken.overflow, taken.partialValue <= group.length else {
      group.find(.wrong, "the group's counter of used bytes is wrong")
      return nil
    }
    do throws(CacheRejection) {
      let content = try CacheDecoder.decode(
        pages: pages.readable, header: counts, groupStart: group.start.rawValue,
        groupLength: group.length, sectorSize: reader.geometry.sectorSize,
        expectedFreeBytes: group.length - taken.partialValue, crc32c: FormatHash.crc32c)
      group.freeBytes = content.freeBytes
      group.largestRun = content.largestRun
      group.isWhole = true
      return content
    } catch .noEntries {
      group.find(.givenUp, "\(CacheRejection.noEntries)")
    } catch {
      // What does not fit the file system of today did so when it was written, if it is stale.
      group.find(group.verdict == .valid ? .wrong : group.verdict, "\(error)")
    }
    return nil
  }
}
