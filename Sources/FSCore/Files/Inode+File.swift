extension FileBuffers: FileState {}

extension Inode {
  /// Buffered data of a regular file. Every inode's state is made by `FileStore.makeState`.
  @inline(__always)
  var file: FileBuffers { unsafeDowncast(fileState, to: FileBuffers.self) }
}

extension FileStore {
  static func makeState() -> any FileState { FileBuffers() }
}
