import FreeSpace

/// Looks at the record of free space of an image, caches or the free space tree, without mounting
/// it: what `fsmount cache` shows.
package struct CacheSurvey {
  /// Whether a cache would be believed.
  package enum Verdict: String, Sendable {
    /// There is none, and none is needed.
    case absent
    case valid
    /// Its file is on other devices of the file system. Not an error: this one alone is never asked.
    case elsewhere
    /// Its writer marked it as not to be used. Not an error: no mount would try.
    case givenUp = "given up"
    /// It was true once.
    case stale
    /// It contradicts itself or the file system.
    case wrong

    fileprivate var severity: Int {
      switch self {
      case .absent, .valid: 0
      case .elsewhere: 1
      case .stale: 2
      case .wrong: 3
      // What no mount reads is neither.
      case .givenUp: 4
      }
    }
  }

  /// One block group and its cache.
  package struct Group {
    package let chunk: Chunk
    package var used: UInt64 = 0
    package var header: FreeSpaceHeader?
    package var file: CacheFile?
    /// Where the image has a free space tree.
    package var treeItems: TreeItems?
    /// Of that; only when they were asked for.
    package var treeEntries: [CacheEntry] = []
    package var verdict = Verdict.absent
    /// Why there is no cache, or why the one that is there would not be believed.
    package var reasons: [String] = []
    /// Of the cache's content, as far as it makes sense.
    package var freeBytes: UInt64?
    package var largestRun: UInt64?
    package var pages: Pages?
    /// Only when they were asked for.
    package var entries: [CacheInspection.ListedEntry] = []
    /// Whether the cache could be decoded, and its total is right.
    package var isWhole = false
    package var comparison: Comparison?

    package var start: LogicalAddress { chunk.start }
    package var length: UInt64 { chunk.length }

    /// Bytes kept free of extents because a superblock copy stands there.
    package var excludedBytes: UInt64 { chunk.superblockRanges.reduce(0) { $0 + $1.length } }

    /// Takes note of a reason against the cache; the worst verdict stands.
    mutating func find(_ verdict: Verdict, _ reason: String) {
      if verdict.severity > self.verdict.severity { self.verdict = verdict }
      reasons.append(reason)
    }
  }

  /// The pages of a cache file.
  package struct Pages: Sendable {
    package let count: Int
    /// Those that hold entries or bitmaps: the first ones.
    package let usedCount: Int
    /// Those among the used ones whose checksum does not match.
    package let bad: [Int]
    /// What page 0 says.
    package let generation: UInt64
  }

  /// The hidden file of a cache.
  package struct CacheFile {
    package let number: ObjectID
    package var inode: InodeItem
    package var extents = CacheFileExtents()
  }

  /// What the extent tree says in place of the cache.
  package struct Comparison {
    /// Parts that the cache calls free and that are in use: using it would destroy data.
    package var usedButListed = Ranges()
    /// Parts that are free and that the cache does not list.
    package var freeButMissing = Ranges()
    package var usedBytes: UInt64 = 0
    package var freeBytes: UInt64 = 0
    package var largestRun: UInt64 = 0
    package var freeRangeCount = 0
    /// Whether parts of the extent tree could not be read.
    package var isIncomplete = false

    package var agrees: Bool {
      usedButListed.count == 0 && freeButMissing.count == 0 && !isIncomplete
    }
  }

  /// Some ranges: all of them counted, the first ones kept.
  package struct Ranges {
    package private(set) var first: [(start: UInt64, length: UInt64)] = []
    package private(set) var count = 0
    package private(set) var bytes: UInt64 = 0

    mutating func add(_ start: UInt64, _ length: UInt64) {
      if first.count < 20 { first.append((start, length)) }
      count += 1
      bytes += length
    }
  }

  let reader: ImageReader
  private let blockGroupTree: BlockPointer?
  let extentTree: BlockPointer?
  let freeSpaceTree: BlockPointer?

  package init(_ reader: ImageReader) {
    self.reader = reader
    extentTree = Self.root(of: .extent, reader)
    let hasOwnTree = reader.superblock.readOnlyFeatures.contains(.blockGroupTree)
    let hasFreeSpaceTree = reader.superblock.readOnlyFeatures.contains(.freeSpaceTree)
    freeSpaceTree = hasFreeSpaceTree ? Self.root(of: .freeSpace, reader) : nil
    blockGroupTree = hasOwnTree ? Self.root(of: .blockGroup, reader) : extentTree
  }

  private static func root(of tree: TreeID, _ reader: ImageReader) -> BlockPointer? {
    do throws(FilesystemError) {
      return try reader.root(of: tree)
    } catch {
      reader.note("tree \(tree): \(error)")
      return nil
    }
  }

  /// Why nothing of the record would be believed, whatever is in it; nil when it may be.
  package var generalDoubt: String? {
    let superblock = reader.superblock
    let generation = superblock.generation
    if superblock.readOnlyFeatures.contains(.freeSpaceTree) {
      return superblock.readOnlyFeatures.contains(.freeSpaceTreeValid)
        ? nil : "the superblock does not say that the free space tree is valid"
    }
    switch superblock.cacheGeneration {
    case generation.rawValue: return nil
    case 0: return "the v1 cache is not in use: the superblock's cache generation is 0"
    case .max: return "a new file system, whose caches have not been written yet"
    case let other:
      return "the superblock's cache generation is \(other), its generation \(generation)"
    }
  }

  /// What is known of one group. Reads its part of the record whole, and with `verify` its part of the extent
  /// tree. What is returned is small unless the entries are to be kept.
  package func survey(_ chunk: Chunk, verify: Bool, keepingEntries: Bool = false) -> Group {
    var group = Group(chunk: chunk)
    var content: FreeSpaceIndex?
    group.used = blockGroupItem(of: chunk)?.used ?? 0
    if record == .freeSpaceTree {
      content = readTree(&group, keepingEntries: keepingEntries)
      if verify { compare(content, &group) }
      return group
    }
    readHeader(&group)
    if let header = group.header {
      group.verdict = .valid
      if let doubt = generalDoubt { group.find(.stale, doubt) }
      if header.generation > reader.superblock.generation {
        group.find(.wrong, "it was written in a transaction to come, \(header.generation)")
      }
      content = readCache(header, &group, keepingEntries: keepingEntries)
    } else if chunk.length < Format.smallestCachedGroup {
      group.reasons.append("groups below 100 MiB have none")
    } else {
      group.reasons.append("none has been written")
    }
    if verify { compare(content, &group) }
    return group
  }

  /// The block group item of a chunk; nil, and a remark, when there is none.
  package func blockGroupItem(of chunk: Chunk) -> BlockGroupItem? {
    guard let blockGroupTree else { return nil }
    let start = ObjectID(chunk.start.rawValue)
    var found: (length: UInt64, item: BlockGroupItem)?
    note { () throws(FilesystemError) in
      try reader.walk(
        blockGroupTree, from: Key(start, .blockGroupItem, 0),
        through: Key(start, .blockGroupItem, .max)
      ) { (key, bytes) throws(FilesystemError) in
        found = (key.offset, try BlockGroupItem(bytes))
        return true
      }
    }
    guard let found else {
      reader.note("chunk \(chunk.start): its block group item is missing")
      return nil
    }
    if found.length != chunk.length || found.item.flags != chunk.item.flags {
      reader.note("chunk \(chunk.start): its block group item has another length or type")
    }
    return found.item
  }

  private func readHeader(_ group: inout Group) {
    var header: FreeSpaceHeader?
    let key = Key(.freeSpace, .untyped, group.start.rawValue)
    note { () throws(FilesystemError) in
      try reader.walk(reader.rootOfRootTree, from: key, through: key) {
        (_, bytes) throws(FilesystemError) in
        header = try FreeSpaceHeader(bytes)
        return true
      }
    }
    group.header = header
  }

  /// Runs `body`; what it throws becomes a remark.
  func note(_ body: () throws(FilesystemError) -> Void) {
    do throws(FilesystemError) { try body() } catch { reader.note("\(error)") }
  }
}
