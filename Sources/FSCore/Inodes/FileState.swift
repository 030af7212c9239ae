/// What an inode keeps in memory for the files layer, which lies above and meets this.
protocol FileState: AnyObject, Sendable {
  init()

  /// Whether nothing would be lost with this object. Any thread may ask; takes no lock.
  var isClean: Bool { get }

  /// How many bytes are buffered. Any thread may ask; takes no lock.
  var bufferedBytes: Int { get }
}
