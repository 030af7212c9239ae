/// Writes batches of buffered data: the device first, then the trees.
///
/// 1. The stages are `cut → encode → place → transfer → complete`, each a type of its own.
/// 2. The inode's `content` is not held while bytes go to the device.
/// 3. First the device has the data of a batch, then transactions add its extents, in the order of
///    the file, so that a crash shows old bytes or new, never others.
/// 4. After the place stage every byte of new space is in one ordered extent; from there it becomes
///    part of the file or is abandoned.
/// 5. Between the decision that a batch is written where it stands and its last transaction no
///    snapshot of the subvolume is taken (`InPlaceGate`).
/// 6. An error loses the extent that it meets and is recorded for the file; the others go on.
struct OrderedWrite: Sendable {
  let cut: CutStage
  let encoder: any PieceEncoder
  let place: PlaceStage
  let transfer: TransferStage
  let complete: CompleteStage
  let transactions: TransactionManager
  let failures: WriteFailures

  /// Writes a batch. On a worker.
  func run(_ batch: borrowing WriteBatch) {
    let inode = batch.inode
    let gate = inode.subvolume.inPlace
    let inPlace = gate.enter()
    defer { if inPlace { gate.leave() } }
    let written = transferred(placed(batch, inPlace: inPlace), of: batch, inode)
    complete.complete(batch, written)
  }

  private func placed(_ batch: borrowing WriteBatch, inPlace: Bool) -> [OrderedExtent] {
    var extents: [OrderedExtent] = []
    var reserved = batch.reservedBytes
    do throws(FilesystemError) {
      // Nothing reaches the device any more once a commit has failed.
      if let refusal = transactions.refusal { throw refusal }
      for part in try cut.cut(batch, inPlace: inPlace) {
        if let existing = part.existing {
          extents.append(OrderedExtent(part.range, at: existing.address, existing.place))
          continue
        }
        try encoder.encode(part.range, of: batch) { (piece) throws(FilesystemError) in
          try place.place(piece, of: batch, reserved: &reserved, into: &extents)
        }
      }
    } catch {
      failures.record(error, of: batch.inode)
    }
    place.space.reservations.releaseData(reserved)
    return extents
  }

  private func transferred(
    _ extents: [OrderedExtent], of batch: borrowing WriteBatch, _ inode: Inode
  ) -> [OrderedExtent] {
    var written: [OrderedExtent] = []
    written.reserveCapacity(extents.count)
    for extent in extents {
      do throws(FilesystemError) {
        written.append(try transfer.transfer(extent, of: batch))
      } catch {
        failures.record(error, of: inode)
        place.abandon(extent)
      }
    }
    return written
  }
}
