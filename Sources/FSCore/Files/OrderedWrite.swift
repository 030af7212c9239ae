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
    var mayBeInPlace = gate.enter()
    defer { if mayBeInPlace { gate.leave() } }
    var plan = encoder.plan(for: inode)
    let written = written(batch, inPlace: &mayBeInPlace, by: &plan)
    complete.complete(batch, written, plan)
  }

  /// Brings the batch to the device, piece by piece: while one is written, workers encode others.
  /// Returns what the device has.
  ///
  /// - Parameter inPlace: whether the gate was entered. When nothing is written in place it is left
  ///   at once: compressing may take long, and a snapshot need not wait for it.
  private func written(
    _ batch: borrowing WriteBatch, inPlace: inout Bool, by plan: inout CompressionPlan?
  ) -> [OrderedExtent] {
    var extents: [OrderedExtent] = []
    var reserved = batch.reservedBytes
    do throws(FilesystemError) {
      // Nothing reaches the device any more once a commit has failed.
      if let refusal = transactions.refusal { throw refusal }
      let parts = try cut.cut(batch, inPlace: inPlace)
      if inPlace, parts.allSatisfy({ $0.existing == nil }) {
        batch.inode.subvolume.inPlace.leave()
        inPlace = false
      }
      for part in parts {
        if let existing = part.existing {
          extents.append(OrderedExtent(part.range, at: existing.address, existing.place))
          transfer(&extents, from: extents.count - 1, of: batch)
          continue
        }
        try encoder.encode(part.range, of: batch, by: &plan) { (piece) throws(FilesystemError) in
          let first = extents.count
          // What was placed before there was no space any more is written, too.
          defer { transfer(&extents, from: first, of: batch) }
          try place.place(piece, of: batch, reserved: &reserved, into: &extents)
        }
      }
    } catch {
      failures.record(error, of: batch.inode)
    }
    place.space.reservations.releaseData(reserved)
    return extents
  }

  /// Writes the extents from `first` on. Those that could not be written are taken off.
  private func transfer(
    _ extents: inout [OrderedExtent], from first: Int, of batch: borrowing WriteBatch
  ) {
    var kept = first
    for index in first..<extents.count {
      do throws(FilesystemError) {
        extents[kept] = try transfer.transfer(extents[index], of: batch)
        kept += 1
      } catch {
        failures.record(error, of: batch.inode)
        place.abandon(extents[index])
      }
    }
    extents.removeSubrange(kept...)
  }
}
