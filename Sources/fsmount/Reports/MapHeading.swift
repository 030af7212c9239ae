import FSCore

extension GroupPicture {
  /// The record of free space in a few words.
  var recordText: String {
    func count(_ number: UInt64, _ name: String) -> String {
      "\(number) \(name)\(number == 1 ? "" : "s")"
    }
    switch verdict {
    case .valid: return "\(count(extentCount, "extent")), \(count(bitmapCount, "bitmap"))"
    case .absent: return "no record"
    case .elsewhere: return "record on other devices"
    case .stale, .wrong, .givenUp: return "record \(verdict.rawValue)"
    }
  }
}

/// What a map says above its rows.
struct MapHeading {
  struct Stripe {
    let offset: UInt64
    let length: UInt64
    let flags: BlockGroupFlags
  }

  /// Neighbours of one kind as one stripe, unless they are longer than `length`.
  func joinedStripes(moreThan length: UInt64) -> [Stripe] {
    var joined: [Stripe] = []
    for stripe in stripes.sorted(by: { $0.offset < $1.offset }) {
      guard let last = joined.last, stripe.length <= length, last.flags == stripe.flags,
        last.offset &+ last.length == stripe.offset
      else {
        joined.append(stripe)
        continue
      }
      joined[joined.count - 1] = Stripe(
        offset: last.offset, length: last.length &+ stripe.length, flags: last.flags)
    }
    return joined
  }

  let title: String
  let subtitle: String
  let deviceSize: UInt64
  /// What chunks have of the device.
  let stripes: [Stripe]
  let record: CacheSurvey.Record
  let groupCount: Int

  init(_ reader: ImageReader, path: String, record: CacheSurvey.Record) {
    let superblock = reader.superblock
    let chunks = reader.chunks
    let member = reader.device.devices.members[0]
    let size = min((try? superblock.deviceItem.totalBytes) ?? .max, member.device.sizeBytes)
    var stripes: [Stripe] = []
    for chunk in chunks {
      for stripe in chunk.item.stripes where stripe.deviceID == member.id {
        stripes.append(
          Stripe(
            offset: stripe.offset.rawValue, length: chunk.length / chunk.item.dataColumns,
            flags: chunk.item.flags))
      }
    }
    self.record = record
    self.stripes = stripes
    deviceSize = size
    groupCount = chunks.count
    title = superblock.label.isEmpty ? path : "\(superblock.label) (\(path))"

    let allocated = stripes.reduce(0) { $0 &+ $1.length }
    let free: String
    switch record {
    case .cacheFiles: free = "free space in caches (v1)"
    case .freeSpaceTree: free = "free space tree (v2)"
    case .none: free = "no record of free space"
    }
    subtitle = [
      ByteCount.text(size), "\(ByteCount.text(allocated)) in \(groupCount) block groups",
      "\(ByteCount.text(superblock.bytesUsed)) used", free, "generation \(superblock.generation)",
      "not mounted, so nothing is pinned",
    ].joined(separator: " · ")
  }
}
