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

    func noteMissing() { failure = .corrupt("the root tree has lost its items") }

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
      try complete(jobs, in: handle)
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

  /// What the end of the IO brings: the extents hold data now, and the items vouch for them. Items
  /// that are missing, which only a damaged image can bring about, cost their cache only.
  private func complete(
    _ jobs: [Job], in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    handle.noteWhole()
    let ready = jobs.filter { $0.failure == nil }
    do throws(FilesystemError) {
      try writeItems(ready, in: handle)
    } catch {
      // Without the inode's generation, which comes last, nobody believes the other items.
      for job in ready where job.failure == nil { job.failure = error }
    }
    handle.noteWhole()
    let generation = handle.generation
    for job in jobs {
      if let failure = job.failure {
        fail(job.group, .writing, "\(failure)", generation)
        try invalidate(job.group, in: handle)
      } else {
        change(job.group) { $0.didWrite(job.change, generation) }
        outcomes.noteWritten(bytes: Int(job.file.length))
      }
    }
  }

  /// Writes the items of many caches in the order of their keys, so that neighbours share a search. A
  /// cache that lacks one gets a `failure`.
  private func writeItems(
    _ jobs: [Job], in handle: borrowing TransactionHandle
  ) throws(FilesystemError) {
    let generation = handle.generation
    func inode(_ job: Job) -> FreeSpaceInode {
      FreeSpaceInode(group: job.group.start, number: job.file.inode, root: trees.root)
    }
    let byInode = jobs.sorted { $0.file.inode < $1.file.inode }
    let byGroup = jobs.sorted { $0.group.start < $1.group.start }

    // Before the header says anything: it must not vouch for a file that nobody has.
    var hasInode = [Bool](repeating: false, count: byInode.count)
    try trees.root.findEach(byInode.count, key: { inode(byInode[$0]).inodeKey }) {
      hasInode[$0] = $1.byteCount == InodeItem.size
    }
    for (job, isThere) in zip(byInode, hasInode) where !isThere { job.noteMissing() }

    try modify(byInode, { inode($0).extentKey(0) }, size: FileExtentItem.size, in: handle) {
      let length = $0.file.length
      let extent = FileExtentItem(
        generation: generation, kind: .regular, diskAddress: $0.file.address, diskLength: length,
        ramBytes: length, offset: 0, length: length)
      extent.encode(into: $1)
    }
    try modify(
      byGroup, { FreeSpaceHeader.key(of: $0.group.start) }, size: FreeSpaceHeader.size, in: handle
    ) {
      let header = FreeSpaceHeader(
        inode: $0.file.inode, generation: generation, entryCount: $0.summary.entryCount,
        bitmapCount: $0.summary.bitmapCount)
      header.encode(into: $1)
    }
    try modify(byInode, { inode($0).inodeKey }, size: InodeItem.size, in: handle) {
      (_, bytes) throws(FilesystemError) in
      var item = try InodeItem(UnsafeRawBufferPointer(bytes).bytes)
      item.transactionID = generation
      item.generation = generation
      item.encode(into: bytes)
    }
  }

  /// Changes an item of the root tree for each cache, in place, unless it has failed. One that has no
  /// item of that size fails.
  private func modify(
    _ jobs: [Job], _ key: (Job) -> Key, size: Int, in handle: borrowing TransactionHandle,
    _ fill: (Job, UnsafeMutableRawBufferPointer) throws(FilesystemError) -> Void
  ) throws(FilesystemError) {
    let ready = jobs.filter { $0.failure == nil }
    var isDone = [Bool](repeating: false, count: ready.count)
    try trees.root.modifyEach(ready.count, key: { key(ready[$0]) }, in: handle) {
      (number, bytes) throws(FilesystemError) in
      guard bytes.count == size else { return }
      try fill(ready[number], bytes)
      isDone[number] = true
    }
    for (job, isDone) in zip(ready, isDone) where !isDone { job.noteMissing() }
  }
}
