import FreeSpace

extension CacheFiles {
  /// A cache on its way: the first of its pages, behind which all are zero, and what its items
  /// must say.
  private final class Job {
    let group: BlockGroup
    let file: CacheFileLocation
    let pages: AlignedBuffer
    let summary: CacheSummary
    let change: UInt64
    var failure: FilesystemError?

    init(
      _ group: BlockGroup, _ file: CacheFileLocation, _ picture: FreeSpacePicture,
      _ pages: AlignedBuffer, _ summary: CacheSummary
    ) {
      self.group = group
      self.file = file
      change = picture.change
      self.pages = pages
      self.summary = summary
    }
  }

  /// How many bytes of groups' pages are in memory at a time, and at most one group's more.
  private static let batchBytes = 4 << 20

  private static let zeros = AlignedBuffer(zeroed: 64 << 10)

  /// Step 2: writes the caches of `groups`, which are set up. What cannot be written is skipped
  /// or fails by itself. The lock is held.
  func writeOut(
    _ groups: [BlockGroup], in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    var rest = groups[...]
    while !rest.isEmpty {
      var jobs: [Job] = []
      var bytes = 0
      while let group = rest.first, bytes < Self.batchBytes {
        if let job = makeJob(group, handle.generation) {
          jobs.append(job)
          bytes += job.pages.count
        }
        rest.removeFirst()
      }

      // All of the batch is submitted before anything is waited for. `write` returns when the
      // bytes are the device's to lose: the commit's flush is what waits for them.
      submit(jobs)
      waitForCompletion()
      for job in jobs { try complete(job, in: handle) }
      countWritten(jobs, isWithinCommit: handle.isWithinCommit)
    }
  }

  /// Takes the pages and one consistent picture, and makes the one into the other. Nil when
  /// nothing is to be written, which may be a failure.
  private func makeJob(_ group: BlockGroup, _ generation: Generation) -> Job? {
    guard hooks.withLock({ $0.refusesPages })?(group.start) != true else {
      fail(group, .noMemory, "no memory for its pages", generation)
      return nil
    }
    guard !group.isReadOnly, let picture = group.takePicture(),
      let file = beginWriting(group, generation)
    else {
      return nil
    }
    do throws(FreeSpaceError) {
      let encoder = try CacheEncoder(
        index: try picture.combined(), pageCount: Int(file.length) / CacheLayout.pageSize)
      let pages = AlignedBuffer(count: encoder.usedPageCount * CacheLayout.pageSize)
      let summary = encoder.encode(
        generation: generation.rawValue, into: pages.bytes, crc32c: FormatHash.crc32c)
      return Job(group, file, picture, pages, summary)
    } catch .doesNotFit where didOutgrow(group, file, generation) {
      return nil
    } catch {
      fail(group, .notEncodable, "\(error)", generation)
      return nil
    }
  }

  /// A group has become more fragmented than was expected when its file was set up. False when the
  /// file cannot be longer.
  private func didOutgrow(
    _ group: BlockGroup, _ file: CacheFileLocation, _ generation: Generation
  ) -> Bool {
    guard file.length < CacheLayout.byteCount(forGroupLength: group.length) else { return false }
    return caches.withLock { caches in
      guard caches.byGroup[group.start, default: GroupCache()].didOutgrow(generation) else {
        return false
      }
      caches.counts.outgrown += 1
      return true
    }
  }

  private func beginWriting(_ group: BlockGroup, _ generation: Generation) -> CacheFileLocation? {
    caches.withLock {
      $0.byGroup[group.start, default: GroupCache()].beginWriting(generation)
    }
  }

  /// Writes the pages in place: the extents are this transaction's own. Files that stand side by side
  /// go in one call.
  private func submit(_ jobs: [Job]) {
    let hook = hooks.withLock { $0.writeFailure }
    for job in jobs { job.failure = hook?(job.group.start) }
    let ready = jobs.filter { $0.failure == nil }.sorted { $0.file.address < $1.file.address }
    var first = 0
    while first < ready.count {
      var end = first + 1
      while end < ready.count, end - first < Self.mostNeighbours,
        ready[end].file.address == ready[end - 1].file.end
      {
        end += 1
      }
      submit(neighbours: ready[first..<end])
      first = end
    }
  }

  /// More files than this are not written in one call.
  private static let mostNeighbours = 256

  private func submit(neighbours jobs: ArraySlice<Job>) {
    guard let first = jobs.first else { return }
    var pieces: [UnsafeRawBufferPointer] = []
    for job in jobs {
      pieces.append(job.pages.readable)
      var rest = Int(job.file.length) - job.pages.count
      while rest > 0 {
        let count = min(rest, Self.zeros.count)
        pieces.append(Self.zeros.readable.part(0, count))
        rest -= count
      }
    }
    do throws(FilesystemError) {
      try device.write(pieces, at: first.file.address)
    } catch {
      // One that fails costs its own cache only.
      if jobs.count == 1 { return first.failure = error }
      for index in jobs.indices { submit(neighbours: jobs[index..<index + 1]) }
    }
  }

  private func countWritten(_ jobs: [Job], isWithinCommit: Bool) {
    let written = jobs.filter { $0.failure == nil }
    let bytes = written.reduce(0) { $0 + $1.file.length }
    caches.withLock { caches in
      if isWithinCommit {
        caches.counts.writtenInside += written.count
        caches.counts.bytesWrittenInside += bytes
      } else {
        caches.counts.writtenEarly += written.count
        caches.counts.bytesWrittenEarly += bytes
      }
    }
  }

  /// Nothing is left to wait for: `submit` did the IO on this thread. See invariant 4; the hook
  /// shows what happens without it.
  private func waitForCompletion() {
    guard let handToWorkers = hooks.withLock({ $0.completesThrough }) else { return }
    let isDone = Guarded(false, rank: .leaf)
    handToWorkers { isDone.update { $0 = true } }
    isDone.when({ $0 }) { _ in }
  }

  /// What the end of the IO brings: the extent holds data now, and the items vouch for it. Items
  /// that are missing, which only a damaged image can bring about, cost this cache only.
  private func complete(
    _ job: Job, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    handle.noteWhole()
    do throws(FilesystemError) {
      if let failure = job.failure { throw failure }
      guard try writeItems(job, in: handle) else {
        throw .corrupt("the root tree has lost its items")
      }
      change(job.group) { $0.didWrite(job.change) }
      outcomes.noteWritten(bytes: Int(job.file.length))
    } catch {
      // Without the inode's generation, which comes last, nobody believes the other items.
      fail(job.group, .writing, "\(error)", handle.generation)
      try invalidate(job.group, in: handle)
    }
    handle.noteWhole()
  }

  /// False when there is no item of that kind: then the cache must be disowned.
  private func writeItems(
    _ job: Job, in handle: borrowing TransactionHandle
  ) throws(FilesystemError) -> Bool {
    let length = job.file.length
    let generation = handle.generation
    let inode = FreeSpaceInode(group: job.group.start, number: job.file.inode, root: trees.root)
    let extent = FileExtentItem(
      generation: generation, kind: .regular, diskAddress: job.file.address, diskLength: length,
      ramBytes: length, offset: 0, length: length)
    let header = FreeSpaceHeader(
      inode: job.file.inode, generation: generation, entryCount: job.summary.entryCount,
      bitmapCount: job.summary.bitmapCount)
    // Before the header says anything: it must not vouch for a file that nobody has.
    guard try inode.item() != nil else { return false }
    let headerKey = FreeSpaceHeader.key(of: job.group.start)
    guard
      try replace(
        inode.extentKey(0), size: FileExtentItem.size, in: handle, { extent.encode(into: $0) }),
      try replace(headerKey, size: FreeSpaceHeader.size, in: handle, { header.encode(into: $0) })
    else { return false }
    return try inode.changeIfPresent(in: handle) { $0.generation = generation }
  }

  /// Writes an item of the root tree anew, in place; false when there is none of that size.
  private func replace(
    _ key: Key, size: Int, in handle: borrowing TransactionHandle,
    _ fill: (UnsafeMutableRawBufferPointer) -> Void
  ) throws(FilesystemError) -> Bool {
    try trees.root.modify(key, in: handle) { bytes in
      guard bytes.count == size else { return false }
      fill(bytes)
      return true
    } ?? false
  }
}
