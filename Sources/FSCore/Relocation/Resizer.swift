import Logging

/// Makes the file system's device longer or shorter. One thread at a time (`Balancer.whileIdle`).
///
/// 1. The device is at least as long as the last commit says, at every moment: a file is made longer
///    before the commit, and cut off after it.
/// 2. Before the trees say that the device is shorter, no chunk has a stripe beyond its new end, and
///    none is made there any more.
/// 3. An error before the last commit leaves the old size. What has moved by then stays where it is.
struct Resizer: Sendable {
  /// Linux makes no file system smaller.
  static let smallest: UInt64 = 256 << 20

  let space: Space
  let trees: Trees
  let transactions: TransactionManager
  let committer: Committer
  let emptier: GroupEmptier
  let device: LogicalDevice
  let log: Logger

  private var chunks: ChunkLifecycle { space.chunks }

  /// Brings the device to `bytes`, less what is no whole sector. Called with no lock held.
  ///
  /// - Parameter goesOn: asked after each extent that was moved. When it says no, the old size stays,
  ///   and this throws `.busy`.
  func resize(to bytes: UInt64, while goesOn: () -> Bool) throws(FilesystemError) {
    let size = bytes.roundedDown(to: space.groups.geometry.sectorSize)
    let old = chunks.deviceBytes
    guard size >= Self.smallest else {
      throw .invalidArgument(
        "a file system cannot be made smaller than \(Self.smallest) bytes; that is \(bytes)")
    }
    guard let member = device.devices[chunks.allocator.device] else {
      throw .unsupported("the device is not open")
    }
    if size > old {
      try grow(to: size, from: old, member)
    } else if size < old {
      try shrink(to: size, from: old, member, goesOn)
    }
  }

  private func grow(
    to size: UInt64, from old: UInt64, _ member: any BlockDevice
  ) throws(FilesystemError) {
    if member.sizeBytes < size { try member.resize(to: size) }
    try member.flush()
    try setSize(size, from: old)
    chunks.allocator.resize(to: size, extents: stripes.map { ($0.start, $0.length) })
    log.info("the file system has \(size) bytes now")
  }

  private func shrink(
    to size: UInt64, from old: UInt64, _ member: any BlockDevice, _ goesOn: () -> Bool
  ) throws(FilesystemError) {
    // What is buffered counts as well.
    emptier.files.flushAll()
    try committer.commit()
    try requireRoom(size)
    // A thread that makes a chunk holds this lock from the choice of its place until the map has it;
    // those that make one with a handle open are waited for by the commit.
    space.reservations.growth.withLock { _ in
      chunks.allocator.resize(to: size, extents: stripes.map { ($0.start, $0.length) })
    }
    do throws(FilesystemError) {
      try clear(beyond: size, goesOn)
      try setSize(size, from: old)
    } catch {
      // A part of what is free is kept, and where the sums would do no chunk could be made.
      let missing = max(
        excess(beyond: size, keeping: space.reservations.keptFree),
        2 * ChunkAllocator.smallestLength)
      if chunks.deviceBytes != size {
        chunks.allocator.resize(to: old, extents: stripes.map { ($0.start, $0.length) })
      }
      guard case .noSpace = error else { throw error }
      throw Self.tooSmall(size, missing)
    }
    // The copies of the superblock, too, say that it is shorter.
    try member.flush()
    do throws(FilesystemError) {
      try member.resize(to: size)
    } catch .unsupported {
      // What the device has beyond is nobody's business.
    }
    log.info("the file system has \(size) bytes now")
  }

  /// Makes the trees and the superblock say `size`. After an error that has not aborted the volume
  /// they say `old` again.
  private func setSize(_ size: UInt64, from old: UInt64) throws(FilesystemError) {
    do throws(FilesystemError) {
      try say(size)
      try committer.commit()
    } catch {
      try? say(old)
      throw error
    }
  }

  private func say(_ size: UInt64) throws(FilesystemError) {
    try transactions.perform(reserving: 1, for: .freeing) { handle throws(FilesystemError) in
      try chunks.setDeviceSize(size, trees: trees, in: handle)
    }
  }

  /// Where chunks stand on the device.
  private var stripes: [(start: UInt64, length: UInt64, chunk: Chunk)] {
    chunks.map.all.flatMap { chunk in
      chunk.item.stripes.filter { $0.deviceID == chunks.allocator.device }
        .map { ($0.offset.rawValue, chunk.length, chunk) }
    }
  }

  private func groups(beyond size: UInt64) -> [BlockGroup] {
    let starts = Set(stripes.filter { $0.start + $0.length > size }.map(\.chunk.start))
    return space.groups.all.filter { starts.contains($0.start) }.sorted { $0.start > $1.start }
  }

  /// Throws when what is used cannot fit, and says by how much.
  private func requireRoom(_ size: UInt64) throws(FilesystemError) {
    let missing = excess(beyond: size)
    if missing > 0 { throw Self.tooSmall(size, missing) }
  }

  private static func tooSmall(_ size: UInt64, _ missing: UInt64) -> FilesystemError {
    .invalidArgument(
      "the file system cannot be made as small as \(size) bytes: "
        + "it needs at least \(missing) bytes more"
    )
  }

  /// By how many bytes of the device at least `size` is too small: what would have to move, less
  /// what the chunks that stay and new ones below the end can take. Each copy counts. Space that
  /// one class has too much of does not serve another.
  ///
  /// - Parameter kept: what of a class's free space is not for this, in logical bytes.
  private func excess(
    beyond size: UInt64, keeping kept: (BlockGroupClass) -> UInt64 = { _ in 0 }
  ) -> UInt64 {
    let moving = Set(groups(beyond: size).map(\.start))
    var needed: UInt64 = 0
    for members in space.groups.classes {
      var wanted = kept(members) * UInt64(members.profile.copies)
      var room: UInt64 = 0
      for group in members.groups {
        let copies = UInt64(group.flags.copies)
        if moving.contains(group.start) {
          wanted += group.used * copies
        } else {
          room += (group.length - group.superblockBytes - group.used) * copies
        }
      }
      if wanted > room { needed += wanted - room }
    }
    // What no chunk has below the new end.
    var taken = Format.reservedAtDeviceStart
    for stripe in stripes where stripe.start < size && !moving.contains(stripe.chunk.start) {
      taken += stripe.length
    }
    let unallocated = size > taken ? size - taken : 0
    return needed > unallocated ? needed - unallocated : 0
  }

  private func clear(
    beyond size: UInt64, _ goesOn: () -> Bool
  ) throws(FilesystemError) {
    var round = 0
    while true {
      // New chunks are told to the trees, which must be before they can go. Empty ones need not be moved.
      _ = try emptier.remover.removeEmpty()
      try committer.commit()
      let groups = groups(beyond: size)
      if groups.isEmpty { return }
      round += 1
      guard round <= Self.mostRounds else {
        throw .busy("block groups beyond the new end do not become empty")
      }
      // One for which there is no room may find some when others have gone.
      var crowded = 0
      for group in groups {
        guard goesOn() else { throw .busy("the resize was stopped: \(Balancer.ending)") }
        do throws(FilesystemError) {
          _ = try emptier.empty(group) { _ in goesOn() }
        } catch .noSpace {
          if let refusal = transactions.refusal { throw refusal }
          crowded += 1
        }
      }
      if crowded == groups.count { throw .noSpace }
    }
  }

  private static let mostRounds = 16
}
