/// What debug builds look at now and then, whatever the files hold.
extension FileBuffers {
  /// Traps where an invariant of these buffers does not hold. `content` of the inode is held.
  func checkInvariants(of inode: Inode) {
    inode.content.assertHeld()
    let buffered = Self.check(dirty)
    let onTheirWay = Self.check(writing)
    precondition(onTheirWay == writingBytes, "bytes of \(inode.id) that are written")
    precondition(buffered + onTheirWay == bufferedBytes, "buffered bytes of \(inode.id)")
    precondition(isListed != isEmpty, "the list of dirty files lies about \(inode.id)")
    checkEnd(of: inode)
  }

  /// Returns how many bytes the cells have.
  private static func check(_ cells: [UInt64: BufferCell]) -> Int {
    cells.reduce(0) { sum, entry in
      precondition(entry.key == entry.value.index && !entry.value.isEmpty)
      precondition(entry.value.reserved & ~entry.value.sectors == 0)
      return sum + entry.value.byteCount
    }
  }

  /// Nothing is dirty beyond the file's last sector, and in it only zeros are beyond its size.
  private func checkEnd(of inode: Inode) {
    let size = inode.fileSize
    let end = size.roundedUp(to: inode.subvolume.geometry.sectorSize)
    for cell in dirty.values where cell.start + BufferCell.size > size {
      cell.forEachRun { sectors in
        let runEnd = cell.start + UInt64(sectors.upperBound * cell.sectorSize)
        precondition(runEnd <= end, "dirty sectors beyond the end of \(inode.id)")
        guard runEnd > size else { return }
        let bytes = cell.bytes(sectors)
        let tail = bytes[(bytes.count - Int(runEnd - size))...]
        precondition(tail.allSatisfy { $0 == 0 }, "bytes beyond the end of \(inode.id)")
      }
    }
  }
}

extension FileStore {
  /// Traps where an invariant of buffered data does not hold: in some files, others at each turn,
  /// as a look at all would take longer than most commits. May be called anywhere: a file that would
  /// have to be waited for is left out.
  package func checkInvariants(turn: UInt64) {
    let (files, most) = (buffer.dirtyFiles.all, 32)
    let first = files.isEmpty ? 0 : Int(turn % UInt64((files.count + most - 1) / most)) * most
    for inode in files[first..<min(first + most, files.count)] where inode.content.tryLockShared() {
      inode.file.checkInvariants(of: inode)
      inode.content.unlock()
    }
  }

  /// What is reserved for all that is buffered, for the data and for what their items add to trees,
  /// while nothing is on its way to the device.
  package var reservedForBuffered: (data: UInt64, items: UInt64) {
    var (data, items): (UInt64, UInt64) = (0, 0)
    for inode in buffer.dirtyFiles.all {
      inode.content.shared {
        for cell in inode.file.dirty.values {
          data += cell.reservedBytes
          items += buffer.space.reservations.itemCost(bytes: UInt64(cell.byteCount), pieces: 1)
        }
      }
    }
    return (data, items)
  }
}
