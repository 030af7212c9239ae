import FreeSpace
import Logging

/// Reads block groups' free space caches, and believes them only beyond every doubt. What it
/// rejects is logged with the reason, and found in the extent tree instead.
package struct CacheLoader: Sendable {
  private let root: Tree
  private let device: LogicalDevice
  private let geometry: Geometry
  private let superGeneration: Generation
  private let isTrusted: Bool
  private let log: Logger

  /// - Parameter isTrusted: whether the superblock vouches for the caches: its
  ///   `cache_generation` is its `generation`, and nobody asked to have them cleared.
  package init(
    root: Tree, device: LogicalDevice, geometry: Geometry, superGeneration: Generation,
    isTrusted: Bool, log: Logger
  ) {
    self.root = root
    self.device = device
    self.geometry = geometry
    self.superGeneration = superGeneration
    self.isTrusted = isTrusted
    self.log = log
  }

  /// - Parameter generation: the transaction in which this mount has written the cache; nil for one
  ///   that it has found.
  package func freeSpace(
    of group: BlockGroup, generation: Generation? = nil
  ) throws(FilesystemError) -> RecordedFreeSpace {
    guard isTrusted || generation != nil, group.isCacheable else { return .unknown }
    do throws(CacheDoubt) {
      return try device.reuse.reading { () throws(CacheDoubt) in
        try load(group, generation).map { .found($0) } ?? .unknown
      }
    } catch {
      log.warning("block group \(group.start): its free space cache is rebuilt: \(error)")
      return .wrong
    }
  }

  /// Nil when the group has no cache, or one that whoever wrote it has disowned.
  private func load(
    _ group: BlockGroup, _ generation: Generation?
  ) throws(CacheDoubt) -> FreeSpaceIndex? {
    guard let (header, item, extents) = try readItems(group) else { return nil }
    if item.generation == 0 || header.generation == 0 { return nil }

    guard item.generation == header.generation else {
      throw .item("inode generation \(item.generation), header generation \(header.generation)")
    }
    if let generation {
      guard header.generation == generation else {
        throw .item("generation \(header.generation), it was written in \(generation)")
      }
    } else if header.generation > superGeneration {
      throw .item("generation \(header.generation), the file system's is \(superGeneration)")
    }
    let needed: InodeFlags = [.noDataSum, .noDataCow]
    guard item.isRegular, item.flags.isSuperset(of: needed) else {
      throw .item("mode \(item.mode) or flags \(item.flags.rawValue) of another kind of file")
    }
    if let fault = extents.fault(size: item.size) { throw .item(fault) }
    return try decode(group, header, extents.items.map(\.item), size: Int(item.size))
  }

  private func readItems(
    _ group: BlockGroup
  ) throws(CacheDoubt) -> (FreeSpaceHeader, InodeItem, CacheFileExtents)? {
    do throws(FilesystemError) {
      guard let header = try FreeSpaceInode.header(of: group.start, in: root) else { return nil }
      guard header.isPossible else { throw .corrupt("its header leads to \(header.location)") }
      let inode = FreeSpaceInode(group: group.start, number: header.inode, root: root)
      guard let item = try inode.item() else { throw .corrupt("inode \(header.inode) is missing") }
      return (header, item, try inode.extents())
    } catch {
      throw .reading(error)
    }
  }

  /// Decodes the first copy of the pages that is whole. A bad one is left as it is: the next commit
  /// that changes the group writes the cache anew.
  private func decode(
    _ group: BlockGroup, _ header: FreeSpaceHeader, _ extents: [FileExtentItem], size: Int
  ) throws(CacheDoubt) -> FreeSpaceIndex {
    let pages = AlignedBuffer(count: size)
    // What is behind the last bitmap is not looked at.
    let used = CacheLayout(pageCount: size / CacheLayout.pageSize)?
      .usedPageCount(entries: header.entryCount, bitmaps: header.bitmapCount)
    let usedBytes = used.map { $0 * CacheLayout.pageSize } ?? size
    var doubt: CacheDoubt?
    do throws(FilesystemError) {
      var copies = 1
      for extent in extents { copies = max(copies, try device.copies(at: extent.diskAddress)) }
      return try MirroredReader.firstGood(of: copies, at: group.start) {
        (copy) throws(FilesystemError) in
        do throws(CacheDoubt) {
          try read(extents, usedBytes, into: pages, copy: copy)
          return try decode(pages, header, group)
        } catch {
          doubt = doubt ?? error
          throw .corrupt("\(error)")
        }
      }.value
    } catch {
      throw doubt ?? .reading(error)
    }
  }

  private func decode(
    _ pages: AlignedBuffer, _ header: FreeSpaceHeader, _ group: BlockGroup
  ) throws(CacheDoubt) -> FreeSpaceIndex {
    do throws(CacheRejection) {
      return try CacheDecoder.decode(
        pages: pages.readable,
        header: (header.generation.rawValue, header.entryCount, header.bitmapCount),
        groupStart: group.start.rawValue, groupLength: group.length,
        sectorSize: geometry.sectorSize, expectedFreeBytes: group.freeInSource,
        crc32c: FormatHash.crc32c)
    } catch {
      throw .content(error)
    }
  }

  /// Reads the first `size` bytes of the file.
  private func read(
    _ extents: [FileExtentItem], _ size: Int, into pages: AlignedBuffer, copy: Int
  ) throws(CacheDoubt) {
    do throws(FilesystemError) {
      var position = 0
      for extent in extents where position < size {
        let copies = try device.copies(at: extent.diskAddress)
        let count = min(Int(extent.length), size - position)
        try device.read(
          into: pages.bytes.part(position, count),
          at: extent.diskAddress + extent.offset, copy: min(copy, copies - 1))
        position += count
      }
    } catch {
      throw .reading(error)
    }
  }
}

/// Why a free space cache is not believed.
enum CacheDoubt: Error, CustomStringConvertible {
  /// The header, the inode or its extents cannot be right.
  case item(String)
  /// They, or the pages, cannot be read.
  case reading(FilesystemError)
  /// The pages do not describe the group.
  case content(CacheRejection)

  var description: String {
    switch self {
    case .item(let reason): reason
    case .reading(let error): "\(error)"
    case .content(let rejection): "\(rejection)"
    }
  }
}
