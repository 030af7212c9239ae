import FSCore

/// The figures of a mount in words: since it began, and since an earlier look.
struct StatsReport {
  let now: MountStatistics
  /// Of an earlier moment of the same mount.
  let before: MountStatistics?

  func lines(_ style: TextStyle) -> [String] {
    var lines = heading(style)
    for part in [requests, commits, record, space, reservations, memory] {
      lines += [""] + part(style)
    }
    return lines
  }

  /// All that changes from second to second, in one line.
  var summary: String {
    let volume = now.volume
    let commits = volume.commits
    return [
      DurationText.text(seconds: now.uptimeSeconds) + ":",
      "\(rateText) requests/s,",
      "\(commits.whole.count) commits (last \(DurationText.text(nanoseconds: commits.whole.last))),",
      "\(volume.record.written) caches,", "dirty \(ByteCount.text(dirtyBytes)),",
      "pinned \(ByteCount.text(volume.pinned)),",
      "memory \(ByteCount.text(UInt64(max(volume.memory.used, 0))))",
    ].joined(separator: " ")
  }

  private var dirtyBytes: UInt64 {
    let dirty = now.volume.dirty
    return UInt64(max(dirty.fileBytes + dirty.blocks * now.volume.blockCache.bytesPerBlock, 0))
  }

  private func heading(_ style: TextStyle) -> [String] {
    var lines = [
      style.paint(now.mountPoint, .bold)
        + "  \(now.image), mounted for \(DurationText.text(seconds: now.uptimeSeconds)), "
        + "generation \(now.volume.generation)"
    ]
    if let reason = now.volume.readOnlyReason {
      lines.append(style.paint("read-only: ", .yellow) + reason)
    }
    lines.append("requests come over \(Self.text(now.transport))")
    return lines
  }

  static func text(_ transport: MountStatistics.Transport) -> String {
    guard let queues = transport.queues, let threads = transport.threads else {
      return "/dev/fuse" + (transport.reason.map { ": \($0)" } ?? "")
    }
    return "io_uring, \(queues) queue\(queues == 1 ? "" : "s"), "
      + "\(threads) thread\(threads == 1 ? "" : "s")"
  }

  // Requests.

  /// Requests of one kind a second; since the earlier look, or since the mount began.
  private func rate(_ operation: String, _ count: UInt64) -> Double {
    let earlier = before?.requests.first { $0.operation == operation }?.count ?? 0
    let seconds = now.uptimeSeconds - (before?.uptimeSeconds ?? 0)
    return seconds > 0 ? Double(count &- min(earlier, count)) / seconds : 0
  }

  /// The same of all requests.
  private var rate: Double { now.requests.reduce(0) { $0 + rate($1.operation, $1.count) } }

  private var rateText: String { DurationText.fixed(rate, 1) }

  /// All figures for other programs, with requests a second.
  var figures: MountStatistics {
    func rounded(_ value: Double) -> Double { (value * 10).rounded() / 10 }
    var figures = now
    figures.requestsPerSecond = rounded(rate)
    for index in figures.requests.indices {
      let request = figures.requests[index]
      figures.requests[index].perSecond = rounded(rate(request.operation, request.count))
    }
    return figures
  }

  private func requests(_ style: TextStyle) -> [String] {
    var table = TextTable([("REQUESTS", .left), ("COUNT", .right), ("PER SECOND", .right)])
    for request in now.requests.sorted(by: { $0.count > $1.count }) {
      table.add([
        .init(request.operation), .init("\(request.count)"),
        .init(DurationText.fixed(rate(request.operation, request.count), 1)),
      ])
    }
    let total = now.requests.reduce(0) { $0 &+ $1.count }
    table.add([.init("all", .bold), .init("\(total)"), .init(rateText)])
    return table.lines(style)
  }

  // Commits.

  private func commits(_ style: TextStyle) -> [String] {
    let commits = now.volume.commits
    var table = TextTable([
      ("COMMITS", .left), ("LAST", .right), ("MEAN", .right), ("LONGEST", .right),
      ("SHARE", .right),
    ])
    func add(_ name: String, _ time: DurationFigures, _ color: TextStyle.Color? = nil) {
      let share =
        commits.whole.total > 0 ? Double(time.total) / Double(commits.whole.total) * 100 : 0
      table.add([
        .init(name, color), .init(DurationText.text(nanoseconds: time.last)),
        .init(DurationText.text(nanoseconds: time.mean)),
        .init(DurationText.text(nanoseconds: time.longest)),
        .init(DurationText.fixed(share, 0) + "%"),
      ])
    }
    add("all", commits.whole, .bold)
    for step in commits.steps { add("  " + Self.name(step.step), step.time) }
    add("critical section", commits.critical)
    let count = commits.whole.count
    let blocks =
      "\(count) commit\(count == 1 ? "" : "s"), \(commits.failed) failed; \(commits.blocks) tree blocks "
      + "written, \(commits.lastBlocks) of them by the last commit"
    return table.lines(style) + [blocks]
  }

  private static func name(_ step: CommitStep) -> String {
    switch step {
    case .references: "before: run references"
    case .settingUp: "before: set up caches"
    case .waiting: "before: wait for operations"
    case .settling: "critical: settle trees"
    case .recording: "critical: write caches"
    case .blocks: "write tree blocks"
    case .flushes: "flushes"
    case .superblocks: "superblocks"
    case .releasing: "release freed space"
    }
  }

  private func record(_ style: TextStyle) -> [String] {
    let record = now.volume.record
    var list = TextList()
    switch record.kind {
    case "v1":
      list.add("caches set up", "\(record.setUp)")
      list.add("caches written", "\(record.written) (\(ByteCount.text(record.bytes)))")
      list.add("skipped", reasons(record.skipped))
      list.add("failed", reasons(record.failed))
    case "v2": list.add("groups written", "\(record.written)")
    default: list.add("record", "none")
    }
    return [style.paint("Free space record: \(record.kind)", .bold)] + list.lines(style)
  }

  private func reasons(_ reasons: [RecordStatistics.Reason]) -> String {
    if reasons.isEmpty { return "0" }
    let total = reasons.reduce(0) { $0 + $1.count }
    return "\(total): " + reasons.map { "\($0.count) \($0.reason)" }.joined(separator: ", ")
  }

  // Space and memory.

  private func space(_ style: TextStyle) -> [String] {
    var table = TextTable([
      ("SPACE", .left), ("PROFILE", .left), ("GROUPS", .right), ("LENGTH", .right),
      ("USED", .right), ("FREE", .right), ("UNLOADED", .right), ("PINNED", .right),
      ("IN FLIGHT", .right), ("UNUSABLE", .right),
    ])
    for members in now.volume.space {
      let sizes = [
        members.length, members.used, members.free, members.unloaded, members.pinned,
        members.inFlight, members.unusable,
      ]
      table.add(
        [.init(members.name), .init(members.profile), .init("\(members.groups)")]
          + sizes.map { .init(ByteCount.text($0)) })
    }
    return table.lines(style)
      + ["\(ByteCount.text(now.volume.unallocated)) of the device are in no block group"]
  }

  private func reservations(_ style: TextStyle) -> [String] {
    let kept = now.volume.reservations
    var list = TextList()
    list.add("data that was accepted", ByteCount.text(kept.data))
    list.add("operations that are running", ByteCount.text(kept.metadata))
    list.add("global reserve", ByteCount.text(kept.globalReserve))
    list.add("of that for this commit", ByteCount.text(kept.commitReserve))
    list.add(
      "\(kept.pendingReferences) pending references", ByteCount.text(kept.referenceReserve))
    let over = kept.overdrafts.filter { $0.blocks > 0 }
    let text = over.map { "\($0.blocks) blocks (\($0.purpose))" }.joined(separator: ", ")
    list.add("overdrafts", over.isEmpty ? "none" : style.paint(text, .red))
    return [style.paint("Reservations", .bold)] + list.lines(style)
  }

  private func memory(_ style: TextStyle) -> [String] {
    let volume = now.volume
    var table = TextTable([
      ("MEMORY", .left), ("USED", .right), ("LIMIT", .right), ("", .left),
    ])
    func size(_ bytes: Int) -> UInt64 { UInt64(max(bytes, 0)) }
    func add(_ name: String, _ used: Int, _ limit: Int, _ color: TextStyle.Color? = nil) {
      table.add([
        .init(name, color), .init(ByteCount.text(size(used))), .init(ByteCount.text(size(limit))),
        .init(style.bar(size(used), of: max(size(limit), 1), width: 12), .green),
      ])
    }
    for pool in volume.memory.pools { add(pool.name, pool.used, pool.limit) }
    add("all, of cache=", volume.memory.used, volume.memory.budget, .bold)

    let cache = volume.blockCache
    let looks = cache.hits &+ cache.misses
    let share = looks > 0 ? Double(cache.hits) / Double(looks) * 100 : 100
    let dirty = volume.dirty
    return table.lines(style) + [
      "tree blocks: \(cache.clean) clean, \(cache.dirty) dirty; \(cache.hits) hits, "
        + "\(cache.misses) misses (\(DurationText.fixed(share, 1))% hits), "
        + "\(cache.readAhead) read ahead",
      "dirty: \(ByteCount.text(size(dirty.fileBytes))) of file data in \(dirty.pieces) pieces, "
        + "\(dirty.blocks) tree blocks, \(dirty.groups) block groups; "
        + "pinned: \(ByteCount.text(volume.pinned))",
    ]
  }
}
