extension ReadWriteLock {
  /// Takes several locks of one rank exclusively for as long as `body` runs. They come in ascending
  /// order of `order`, which any other thread that takes several keeps to as well.
  static func exclusively<R>(
    _ locks: [(lock: ReadWriteLock, order: InodeID)],
    _ body: () throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R {
    for (lock, order) in locks { lock.lockExclusive(order: order) }
    defer { for (lock, _) in locks.reversed() { lock.unlock() } }
    return try body()
  }
}
