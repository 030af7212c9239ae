import FreeSpace
import Glibc
import Logging

/// Finds out what is free in block groups, when that is needed: from the record on the device, or
/// else from the extent tree. No lock of its own.
package final class GroupLoader: Sendable {
  private let extentTree: Tree
  private let geometry: Geometry
  private let log: Logger

  /// Bound once, late, before the first change: the record of free space stands in block groups, and
  /// holds this object. Without it every group is loaded from the extent tree.
  nonisolated(unsafe) package weak var source: (any FreeSpaceLoader)?

  init(extentTree: Tree, geometry: Geometry, log: Logger) {
    self.extentTree = extentTree
    self.geometry = geometry
    self.log = log
  }

  /// Loads a group's free space, or waits for the thread that does. Afterwards it is loaded; or
  /// damaged, when what the trees say of it is wrong; or as before, when they cannot be read. Then
  /// it is tried again when the space is wanted, but not at once.
  ///
  /// Does IO and reads the root and the extent tree: never called with a tree's lock held, nor
  /// inside a commit's critical section.
  package func load(_ group: BlockGroup) {
    guard group.beginLoading() else {
      group.waitUntilLoaded()
      return
    }
    do throws(FilesystemError) {
      switch try source?.freeSpace(of: group) {
      case .found(let index):
        if group.publish(index) { return }
        log.warning("block group \(group.start): its recorded free space has a wrong sum")
        source?.distrust(group)
      case .wrong: source?.distrust(group)
      case .unknown, nil: break
      }
      let scan = ExtentTreeScan(extentTree: extentTree, geometry: geometry)
      for attempt in 0..<12 {
        // A sum that is wrong because an extent was half freed is right a moment later.
        if attempt > 0 { usleep(UInt32(100) << UInt32(attempt)) }
        if group.publish(try scan.freeSpace(of: group)) { return }
      }
      log.error("block group \(group.start): its extents are not the \(group.used) bytes it says")
    } catch .device(let operation, let offset, let code) {
      guard group.postponeLoading() else { return }
      let error = FilesystemError.device(operation: operation, offset: offset, code: code)
      return log.error(
        "block group \(group.start): its free space cannot be found, for now: \(error)")
    } catch {
      log.error("block group \(group.start): its free space cannot be found: \(error)")
    }
    group.markDamaged()
  }
}
