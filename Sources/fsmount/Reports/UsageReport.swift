import FSCore

/// How the space is used, arranged as `btrfs filesystem usage` has it.
struct UsageReport {
  let usage: SpaceUsage
  /// Plain numbers of bytes.
  let isExact: Bool

  func lines(_ style: TextStyle) -> [String] {
    var lines = ["Overall:"] + overall.map { "    \($0.padded(to: 24))\($1)" }
    for profile in usage.profiles { lines += [""] + section(profile, style) }
    lines += ["", style.paint("Unallocated:", .bold)]
    lines += places(usage.devices.map { ($0.id, $0.unallocated) })
    return lines
  }

  private func size(_ bytes: UInt64) -> String { isExact ? "\(bytes)" : ByteCount.text(bytes) }

  private var overall: [(String, String)] {
    let overall = usage.overall
    var pairs = [
      ("Device size:", size(overall.deviceSize)),
      ("Device allocated:", size(overall.deviceAllocated)),
      ("Device unallocated:", size(overall.deviceUnallocated)),
      ("Device missing:", size(overall.deviceMissing)),
      ("Device slack:", size(overall.deviceSlack)),
      ("Used:", size(overall.used)),
      (
        "Free (estimated):",
        "\(size(overall.freeEstimated))  (min: \(size(overall.freeMinimum)))"
      ),
    ]
    if let free = overall.freeStatfs { pairs.append(("Free (statfs, df):", size(free))) }
    pairs += [
      ("Data ratio:", DurationText.fixed(overall.dataRatio, 2)),
      ("Metadata ratio:", DurationText.fixed(overall.metadataRatio, 2)),
      (
        "Global reserve:",
        "\(size(overall.globalReserve))  (used: \(size(overall.globalReserveUsed)))"
      ),
      ("Multiple profiles:", overall.hasMultipleProfiles ? "yes" : "no"),
    ]
    return pairs
  }

  private func section(_ profile: SpaceUsage.Profile, _ style: TextStyle) -> [String] {
    let names = [
      "data": "Data", "metadata": "Metadata", "system": "System", "mixed": "Data+Metadata",
    ]
    let share = profile.size > 0 ? Double(profile.used) / Double(profile.size) * 100 : 0
    let title = style.paint("\(names[profile.type] ?? profile.type),\(profile.profile):", .bold)
    let heading =
      "\(title) Size:\(size(profile.size)), Used:\(size(profile.used)) "
      + "(\(DurationText.fixed(share, 2))%)"
    return [heading] + places(profile.parts.map { ($0.device, $0.bytes) })
  }

  private func places(_ parts: [(device: UInt64, bytes: UInt64)]) -> [String] {
    let names = parts.map { part in
      usage.devices.first { $0.id == part.device }?.path ?? "device \(part.device)"
    }
    let width = names.reduce(0) { max($0, $1.count) }
    return zip(names, parts).map { "   \($0.padded(to: width))  \(size($1.bytes))" }
  }
}

extension String {
  /// With blanks behind it, up to `width` characters.
  func padded(to width: Int) -> String {
    self + String(repeating: " ", count: max(0, width - count))
  }
}
