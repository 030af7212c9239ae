/// How a volume is mounted.
package struct VolumeOptions: Sendable {
  /// What keeps free space on the image.
  package enum SpaceCache: Sendable {
    /// What the image has. One whose `cache_generation` is 0 has nothing.
    case asImage
    /// Caches, written at every commit.
    case v1
    /// The free space tree.
    case v2
    /// Nothing; whatever the image has is deleted.
    case none
  }

  /// When reading updates an access time.
  package enum AccessTimes: Sendable {
    /// When it is not after the last change, or a day old.
    case relatime
    case noatime
    /// At every read.
    case strict
  }

  /// The subvolume whose root directory is the volume's.
  package enum SubvolumeChoice: Sendable, Equatable {
    /// The one that the image names its default.
    case imageDefault
    case id(TreeID)
    /// By its path from the top-level subvolume.
    case path(String)
  }

  package var readOnly = false

  /// Seconds from a change to the commit that makes it durable.
  package var commitInterval = 5.0

  package var spaceCache = SpaceCache.asImage

  /// Believe nothing of what the image has of that, and write all anew.
  package var clearCache = false

  /// Bounds the memory for all that grows with the work: see `MemoryBudget`.
  package var cacheBytes: UInt64 = 256 << 20

  package var accessTimes = AccessTimes.relatime

  /// Whether reading a directory, too, updates its access time.
  package var directoryAccessTimes = true

  /// Mount an image with a log tree as its last commit left it, read-only.
  package var noLogReplay = false

  /// How to compress what is written; nil leaves it to each file.
  package var compression: CompressionChoice?

  /// Let the device go of what a commit has freed.
  package var discards = false

  package var subvolume = SubvolumeChoice.imageDefault

  /// Leave a balance paused that an earlier mount has not finished.
  package var skipBalance = false

  package init() {}
}
