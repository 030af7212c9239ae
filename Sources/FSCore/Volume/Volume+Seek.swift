extension Volume {
  /// The first position at or after `offset` that has data, or none. Throws `.noSuchOffset` when
  /// `offset` is not before the end of the file, or no data follow.
  package func seek(
    _ id: InodeID, from offset: UInt64, _ target: SeekTarget
  ) throws(FilesystemError) -> UInt64 {
    try files.seek(try file(id), from: offset, target)
  }
}
