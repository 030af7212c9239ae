import FreeSpace

/// Invariants that run: at every commit of a debug build, and where tests ask for them.
extension FreeSpaceTree {
  /// What the tree says wrongly of the groups that have changed (invariants 1 and 2). A group that
  /// is not loaded, or in which something is in flight, has no picture to hold the items against.
  package func brokenInvariants() -> [String] {
    state.withLock { state in
      guard let tree = state.tree, !state.isToBeRebuilt else { return [] }
      return changedGroups.compactMap { group in
        isDistrusted(group) ? nil : Self.broken(group, tree)
      }
    }
  }

  private static func broken(_ group: BlockGroup, _ tree: Tree) -> String? {
    if group.hasSpaceChanges { return "block group \(group.start) has changes that are not noted" }
    do throws(FilesystemError) {
      // A picture that contradicts itself is the image's lie, which fails this commit anyhow.
      guard let free = try? group.picturedFree() else { return nil }
      let (index, info) = try FreeSpaceTreeGroup(tree, group).read()
      guard index.freeBytes == free.freeBytes, ranges(index) == ranges(free),
        Int(info.extentCount) == free.rangeCount
      else {
        return """
          block group \(group.start): \(index.freeBytes) bytes are free in the tree, in \
          \(info.extentCount) ranges, and \(free.freeBytes) in \(free.rangeCount)
          """
      }
      return nil
    } catch .corrupt(let reason) {
      return "block group \(group.start): \(reason)"
    } catch {
      // A device that fails says nothing of the items.
      return nil
    }
  }

  private static func ranges(_ index: FreeSpaceIndex) -> [Range<UInt64>] {
    var ranges: [Range<UInt64>] = []
    index.forEachRange { (offset, length) throws(Never) in ranges.append(offset..<offset + length) }
    return ranges
  }
}

extension BlockGroup {
  /// All that no extent covers, superblock copies included, by what is in memory; nil when that does
  /// not know.
  func picturedFree() throws(FilesystemError) -> FreeSpaceIndex? {
    guard let picture = takePicture() else { return nil }
    do throws(FreeSpaceError) {
      let index = try picture.combined()
      for range in superblockRanges { try index.fill(range.start.rawValue, range.length) }
      return index
    } catch {
      throw FilesystemError(error, group: start)
    }
  }
}
