import FSCore
import FreeSpace

extension CacheReport {
  var json: JSONText {
    .object([
      ("image", .string(path)),
      ("fsid", .string(superblock.fsid.description)),
      ("generation", .number(superblock.generation.rawValue)),
      ("record", .string(record.rawValue)),
      ("cache_generation", .number(superblock.cacheGeneration)),
      ("doubt", doubt.map { .string($0) } ?? .null),
      ("good", .bool(!hasFindings)),
      ("groups", .array(groups.map(json))),
      ("problems", .array(problems.map { .string($0) })),
    ])
  }

  private func json(_ group: CacheSurvey.Group) -> JSONText {
    let flags = group.chunk.item.flags
    var members: [(String, JSONText)] = [
      ("start", .number(group.start.rawValue)),
      ("length", .number(group.length)),
      ("type", .string(flags.typeName)),
      ("profile", .string(flags.profileName)),
      ("used", .number(group.used)),
      ("excluded", .number(group.excludedBytes)),
      ("cache", .string(group.verdict.rawValue)),
      ("reasons", .array(group.reasons.map { .string($0) })),
      ("cache_generation", .optional(group.header?.generation.rawValue)),
      ("entries", .optional(group.treeItems?.count ?? group.header?.entryCount)),
      ("bitmaps", .optional(group.treeItems?.bitmapCount ?? group.header?.bitmapCount)),
      ("free", .optional(group.freeBytes)),
      ("largest_run", .optional(group.largestRun)),
      ("inode", .optional(group.file?.number.rawValue)),
      ("pages", .optional(group.pages.map { UInt64($0.count) })),
      ("used_pages", .optional(group.pages.map { UInt64($0.usedCount) })),
      ("bad_pages", .array((group.pages?.bad ?? []).map { .number(UInt64($0)) })),
    ]
    if let comparison = group.comparison {
      members.append(("extent_tree", json(comparison)))
    }
    if showsEntries {
      let entries = group.treeItems == nil ? group.entries.map(json) : group.treeEntries.map(json)
      members.append(("entry_list", .array(entries)))
    }
    return .object(members)
  }

  private func json(_ comparison: CacheSurvey.Comparison) -> JSONText {
    .object([
      ("agrees", .bool(comparison.agrees)),
      ("incomplete", .bool(comparison.isIncomplete)),
      ("used", .number(comparison.usedBytes)),
      ("free", .number(comparison.freeBytes)),
      ("largest_run", .number(comparison.largestRun)),
      ("free_ranges", .number(UInt64(comparison.freeRangeCount))),
      ("in_use_but_listed", .number(comparison.usedButListed.bytes)),
      ("free_but_missing", .number(comparison.freeButMissing.bytes)),
    ])
  }

  private func json(_ entry: CacheEntry) -> JSONText {
    .object([
      ("offset", .number(entry.offset)),
      ("bytes", .number(entry.bytes)),
      ("type", .number(UInt64(entry.rawKind))),
    ])
  }

  private func json(_ listed: CacheInspection.ListedEntry) -> JSONText {
    .object([
      ("offset", .number(listed.entry.offset)),
      ("bytes", .number(listed.entry.bytes)),
      ("type", .number(UInt64(listed.entry.rawKind))),
      ("page", .number(UInt64(listed.page))),
    ])
  }
}
