/// How the space of all devices is used, in the terms of `btrfs filesystem usage`. All figures are in
/// bytes.
package struct SpaceUsage: Codable, Equatable, Sendable {
  package struct Device: Codable, Equatable, Sendable {
    package var id: UInt64
    /// Nil for one that is not open.
    package var path: String?
    package var size: UInt64
    /// What chunks have of it.
    package var allocated: UInt64
    /// What the file or block device has beyond `size`; 0 for one that is not open.
    package var slack: UInt64

    package var unallocated: UInt64 { size > allocated ? size - allocated : 0 }

    package init(id: UInt64, path: String? = nil, size: UInt64, slack: UInt64 = 0) {
      self.id = id
      self.path = path
      self.size = size
      self.slack = slack
      allocated = 0
    }
  }

  /// The chunks of one type and profile.
  package struct Profile: Codable, Equatable, Sendable {
    package struct Part: Codable, Equatable, Sendable {
      package var device: UInt64
      package var bytes: UInt64
    }

    package var type: String
    package var profile: String
    /// Logical bytes.
    package var size: UInt64
    package var used: UInt64
    /// What they take on each device.
    package var parts: [Part]

    package var raw: UInt64 { parts.reduce(0) { $0 &+ $1.bytes } }

    /// `raw / size`; 1 where one of them is 0.
    package var ratio: Double { size > 0 && raw > 0 ? Double(raw) / Double(size) : 1 }
  }

  package struct Overall: Codable, Equatable, Sendable {
    package var deviceSize: UInt64 = 0
    package var deviceAllocated: UInt64 = 0
    package var deviceUnallocated: UInt64 = 0
    package var deviceMissing: UInt64 = 0
    package var deviceSlack: UInt64 = 0
    /// Every copy counted.
    package var used: UInt64 = 0
    /// What could be written as data, were all that is unallocated given to data in its profile.
    package var freeEstimated: UInt64 = 0
    /// The same in the most expensive profile that there is.
    package var freeMinimum: UInt64 = 0
    /// What statfs(2) calls available; nil for an image that is not mounted.
    package var freeStatfs: UInt64?
    package var dataRatio = 1.0
    package var metadataRatio = 1.0
    package var globalReserve: UInt64 = 0
    package var globalReserveUsed: UInt64 = 0
    /// Whether some type of chunks has more than one profile.
    package var hasMultipleProfiles = false
  }

  package private(set) var overall = Overall()
  /// Data or mixed, metadata, system.
  package private(set) var profiles: [Profile] = []
  package private(set) var devices: [Device]

  /// Below this, unallocated space is not counted as free: no chunk may fit.
  private static let leastUnallocated: UInt64 = 16 << 20

  /// - Parameters:
  ///   - devices: with `allocated` 0.
  ///   - chunks: each with what extents use of it.
  package init(devices: [Device], chunks: [(chunk: Chunk, used: UInt64)]) {
    self.devices = devices
    for (chunk, used) in chunks { add(chunk, used) }
    let order = ["data", "mixed", "metadata", "system"]
    profiles.sort {
      let first = (order.firstIndex(of: $0.type) ?? order.count, $0.profile)
      return first < (order.firstIndex(of: $1.type) ?? order.count, $1.profile)
    }
    computeOverall()
  }

  /// Where block groups are mixed, the reserve is kept in what data could have.
  package mutating func setReserve(_ size: UInt64, used: UInt64) {
    overall.globalReserve = size
    overall.globalReserveUsed = used
    guard profiles.contains(where: { $0.type == "mixed" }) else { return }
    let kept = size > used ? size - used : 0
    overall.freeEstimated -= min(kept, overall.freeEstimated)
    overall.freeMinimum -= min(kept, overall.freeMinimum)
  }

  package mutating func setStatfs(_ bytes: UInt64) { overall.freeStatfs = bytes }

  /// A mount does not know by what path its image was opened: its process does.
  package mutating func setPath(_ path: String, ofDevice id: UInt64) {
    for index in devices.indices where devices[index].id == id { devices[index].path = path }
  }

  private mutating func add(_ chunk: Chunk, _ used: UInt64) {
    let flags = chunk.item.flags
    let (type, name) = (flags.typeName, flags.profileName)
    let index: Int
    if let found = profiles.firstIndex(where: { $0.type == type && $0.profile == name }) {
      index = found
    } else {
      index = profiles.count
      profiles.append(Profile(type: type, profile: name, size: 0, used: 0, parts: []))
    }
    profiles[index].size &+= chunk.length
    profiles[index].used &+= used

    let length = chunk.length / chunk.item.dataColumns
    for stripe in chunk.item.stripes {
      let id = stripe.deviceID.rawValue
      if let part = profiles[index].parts.firstIndex(where: { $0.device == id }) {
        profiles[index].parts[part].bytes &+= length
      } else {
        profiles[index].parts.append(Profile.Part(device: id, bytes: length))
      }
      for device in devices.indices where devices[device].id == id {
        devices[device].allocated &+= length
      }
    }
  }

  private mutating func computeOverall() {
    for device in devices {
      overall.deviceSize &+= device.size
      overall.deviceAllocated &+= device.allocated
      overall.deviceUnallocated &+= device.unallocated
      overall.deviceSlack &+= device.slack
    }
    overall.used = profiles.reduce(0) { $0 &+ Self.scaled($1.used, $1.ratio) }

    let data = profiles.filter { $0.type == "data" || $0.type == "mixed" }
    let metadata = profiles.filter { $0.type == "metadata" || $0.type == "mixed" }
    overall.dataRatio = Self.ratio(of: data)
    overall.metadataRatio = Self.ratio(of: metadata)
    let free = data.reduce(0) { $0 &+ ($1.size > $1.used ? $1.size - $1.used : 0) }
    overall.freeEstimated = free
    overall.freeMinimum = free
    if overall.deviceUnallocated >= Self.leastUnallocated {
      let worst = profiles.map(\.ratio).max() ?? 1
      overall.freeEstimated &+= Self.scaled(overall.deviceUnallocated, 1 / overall.dataRatio)
      overall.freeMinimum &+= Self.scaled(overall.deviceUnallocated, 1 / worst)
    }
    overall.hasMultipleProfiles = Set(profiles.map(\.type)).count < profiles.count
  }

  private static func ratio(of profiles: [Profile]) -> Double {
    let size = profiles.reduce(0.0) { $0 + Double($1.size) }
    let raw = profiles.reduce(0.0) { $0 + Double($1.raw) }
    return size > 0 && raw > 0 ? raw / size : 1
  }

  /// Exact where the factor is a whole number or the inverse of one.
  private static func scaled(_ bytes: UInt64, _ factor: Double) -> UInt64 {
    if factor >= 1, factor == factor.rounded(), factor < 64 { return bytes &* UInt64(factor) }
    let inverse = (1 / factor).rounded()
    if factor < 1, abs(1 / factor - inverse) < 1e-9 { return bytes / UInt64(inverse) }
    return UInt64(min(Double(bytes) * factor, 1e19))
  }
}

extension ChunkItem {
  /// How many stripes one copy of the chunk's bytes is spread over, without parity.
  package var dataColumns: UInt64 {
    let count = UInt64(max(stripes.count, 1))
    if flags.contains(.raid5) { return max(count, 2) - 1 }
    if flags.contains(.raid6) { return max(count, 3) - 2 }
    return max(columns, 1)
  }
}
