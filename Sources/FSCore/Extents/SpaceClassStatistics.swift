/// What the bytes of one class of block groups are used for. Superblock copies are left out:
/// `length` is the sum of `used`, `free`, `unloaded`, `pinned`, `inFlight` and `unusable`.
package struct SpaceClassStatistics: Codable, Equatable, Sendable {
  /// `data`, `metadata`, `mixed` or `system`.
  package var name: String
  /// Of new block groups.
  package var profile: String
  package var groups: Int
  package var length: UInt64
  package var used: UInt64
  package var free: UInt64
  /// Free in groups whose free space was not asked for yet.
  package var unloaded: UInt64
  /// Freed, and allocatable after the next commit.
  package var pinned: UInt64
  /// Allocated, and on its way to the device.
  package var inFlight: UInt64
  package var unusable: UInt64
  /// Of `free`: kept for data that was accepted.
  package var reservedData: UInt64
  /// Of `free`: kept for tree blocks of operations that are running.
  package var reservedMetadata: UInt64
}

/// Space that is kept for what is to come, in bytes, and tree blocks that were taken beyond that.
package struct ReservationStatistics: Codable, Equatable, Sendable {
  package struct Overdraft: Codable, Equatable, Sendable {
    package var purpose: String
    package var blocks: Int
  }

  /// For data that was accepted.
  package var data: UInt64
  /// For operations that are running.
  package var metadata: UInt64
  /// For commits and for what frees space.
  package var globalReserve: UInt64
  /// What the running transaction's commit has left of its part of that.
  package var commitReserve: UInt64
  /// What applying the pending references may take.
  package var referenceReserve: UInt64
  /// Extents with changes that are not in the extent tree.
  package var pendingReferences: Int
  /// Tree blocks that nothing was reserved for, by purpose. All are 0 unless the program is wrong.
  package var overdrafts: [Overdraft]

  package var overdraftCount: Int { overdrafts.reduce(0) { $0 + $1.blocks } }
}

extension Reservations {
  package var statistics: ReservationStatistics {
    let classes = groups.classes.map { $0.counters.withLock { $0 } }
    let used = metadata.counters.withLock { $0.used }
    return ReservationStatistics(
      data: classes.reduce(0) { $0 + $1.reservedData },
      metadata: classes.reduce(0) { $0 + $1.reservedMetadata },
      globalReserve: globalReserve, commitReserve: openCommitReserve(),
      referenceReserve: policy.referenceCost(pending: UInt64(pendingCount), metadataUsed: used),
      pendingReferences: pendingCount,
      overdrafts: MetadataPurpose.allCases.map {
        ReservationStatistics.Overdraft(purpose: "\($0)", blocks: overdrafts[$0])
      })
  }

  /// What of the global reserve is not free at the moment.
  package var globalReserveUsed: UInt64 {
    let counters = metadata.counters.withLock { $0 }
    let taken = counters.reservedData + counters.reservedMetadata
    let available = counters.free + counters.unloaded
    let free = available > taken ? available - taken : 0
    let reserve = globalReserve
    return reserve > free ? reserve - free : 0
  }
}

extension Space {
  package var classStatistics: [SpaceClassStatistics] {
    groups.classes.map { members in
      let counters = members.counters.withLock { $0 }
      let profile = members.profile
      return SpaceClassStatistics(
        name: members.types.typeName, profile: profile.profileName, groups: members.groups.count,
        length: counters.length, used: counters.used, free: counters.free,
        unloaded: counters.unloaded, pinned: counters.pinned, inFlight: counters.inFlight,
        unusable: counters.unusable, reservedData: counters.reservedData,
        reservedMetadata: counters.reservedMetadata)
    }
  }

  /// Bytes of the device that no chunk has.
  package var unallocated: UInt64 { chunks.allocator.unallocated }
}
