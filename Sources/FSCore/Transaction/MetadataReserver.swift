/// What a change of trees is for: how far it may go into what is kept free.
package enum MetadataPurpose: Int, Sendable, CaseIterable {
  /// Refused in time.
  case ordinary
  /// The same, but refused at once where there is no room: the caller can do with less.
  case opportune
  /// File data that were accepted before: into the global reserve, but never so far that nothing
  /// could be deleted any more.
  case acceptedData
  /// It frees space, and so must succeed on a full volume.
  case freeing
  /// The commit's own changes, from the reserve that is kept for it alone.
  case commit
}

/// Keeps space for tree blocks before a transaction is joined.
package protocol MetadataReserver: AnyObject, Sendable {
  /// Reserves what changing `items` items may take, in bytes. Throws `.noSpace` when it is not
  /// there.
  func reserveMetadata(
    items: Int, for purpose: MetadataPurpose
  ) throws(FilesystemError) -> UInt64

  /// Takes back what a handle has left of its reservation.
  func releaseMetadata(_ bytes: UInt64)

  /// What the running transaction's commit has left of its reserve.
  func openCommitReserve() -> UInt64

  /// Says what is left, at its end, of the `opened` bytes with which a handle began. It may be
  /// more: references bring what was kept back for them.
  func closeCommitReserve(opened: UInt64, left: UInt64)

  /// The next transaction begins, and its commit has all of its reserve.
  func renewCommitReserve()
}
