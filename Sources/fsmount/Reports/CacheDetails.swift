import FSCore
import FreeSpace

/// One cache in full: its file, its pages, its entries; or a group's items in the free space tree.
struct CacheDetails {
  let group: CacheSurvey.Group

  func lines(_ style: TextStyle) -> [String] {
    if group.treeItems != nil { return treeLines(style) }
    guard let pages = group.pages, let header = group.header else { return [] }
    var list = TextList()
    if let file = group.file {
      list.add("inode", "\(file.number), \(ByteCount.text(file.inode.size))")
      let places = file.extents.items.map { (_, extent) in
        "\(extent.diskAddress + extent.offset) + \(extent.length)"
      }
      list.add("stands at", places.joined(separator: ", "))
      list.add(
        "generations",
        "header \(header.generation), inode \(file.inode.generation), file \(pages.generation)")
    }
    list.add("pages", pageMap(pages, style))

    var table = TextTable([
      ("ENTRY", .right), ("PAGE", .right), ("AT", .right), ("KIND", .left), ("START", .right),
      ("BYTES", .right), ("", .right),
    ])
    for listed in group.entries {
      let entry = listed.entry
      let kind = entry.kind.map { $0 == .extent ? "extent" : "bitmap" } ?? "type \(entry.rawKind)"
      table.add([
        .init("\(listed.number)"), .init("\(listed.page)"), .init("\(listed.offsetInPage)"),
        .init(kind, entry.kind == nil ? .red : entry.kind == .bitmap ? .cyan : nil),
        .init("\(entry.offset)"), .init("\(entry.bytes)"), .init(ByteCount.text(entry.bytes), .dim),
      ])
    }
    let title = style.paint("Cache of block group \(group.start)", .bold)
    return [title] + list.lines(style) + table.lines(style)
  }

  private func treeLines(_ style: TextStyle) -> [String] {
    var table = TextTable([("KIND", .left), ("START", .right), ("BYTES", .right), ("", .right)])
    for entry in group.treeEntries {
      let isBitmap = entry.kind == .bitmap
      table.add([
        .init(isBitmap ? "bitmap" : "extent", isBitmap ? .cyan : nil), .init("\(entry.offset)"),
        .init("\(entry.bytes)"), .init(ByteCount.text(entry.bytes), .dim),
      ])
    }
    let title = style.paint("Free space of block group \(group.start)", .bold)
    return [title] + table.lines(style)
  }

  /// A character for each page: `E` entries, `B` bitmap, `.` unused, `!` a wrong checksum.
  private func pageMap(_ pages: CacheSurvey.Pages, _ style: TextStyle) -> String {
    let bitmaps = Int(clamping: group.header?.bitmapCount ?? 0)
    let entryPages = pages.usedCount - min(bitmaps, pages.usedCount)
    var text = ""
    for page in 0..<pages.count {
      if pages.bad.contains(page) {
        text += style.paint("!", .red)
      } else {
        text += page < entryPages ? "E" : page < pages.usedCount ? "B" : "."
      }
    }
    return text + style.paint("  (E entries, B bitmap, . unused, ! bad checksum)", .dim)
  }
}
