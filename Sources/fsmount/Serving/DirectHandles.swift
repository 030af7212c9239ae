import CFuse
import FSCore

/// Which files are open with O_DIRECT, and whether the kernel may have pages of them all the same.
///
/// Before a direct write the kernel forgets its pages of what is written. A reader beside it brings
/// them back while the write is under way, with the old content; and after a write that the program
/// does not wait for (AIO) the kernel does not look again. So such a write is answered when the kernel
/// has forgotten them once more.
///
/// 1. A page is read by a handle that was opened without O_DIRECT. Where none was open since a
///    file's first direct handle was opened, no direct write needs that.
/// 2. That none was is known for sure: of an open without O_DIRECT and one with it that come at
///    the same moment, the one sees the other.
///
/// Left out is a program that maps what it opened with O_DIRECT, or takes O_DIRECT off (fcntl(2)), and
/// reads pages through that.
///
/// Lock rank: `leaf`.
final class DirectHandles: Sendable {
  private struct File {
    var count = 0
    var hasPageReaders = false
  }

  private let files = Guarded<[InodeID: File]>([:], rank: .leaf)

  /// A handle of `id` was opened. `allHandles` is how many there are by now, this one included.
  func didOpen(_ id: InodeID, isDirect: Bool, allHandles: () -> Int) {
    guard isDirect else {
      files.withLock { files in
        guard !files.isEmpty else { return }
        files[id]?.hasPageReaders = true
      }
      return
    }
    files.withLock { $0[id, default: File()].count += 1 }
    let all = allHandles()
    files.withLock { files in
      guard let file = files[id], all > file.count else { return }
      files[id]?.hasPageReaders = true
    }
  }

  /// A direct handle of `id` is closed.
  func didClose(_ id: InodeID) {
    files.withLock { files in
      guard var file = files[id] else { return }
      file.count -= 1
      files[id] = file.count == 0 ? nil : file
    }
  }

  /// Whether the kernel may have read pages of `id` since the oldest direct handle was opened. Without
  /// such a handle it may: then a program has set O_DIRECT afterwards.
  func mayHavePages(_ id: InodeID) -> Bool {
    files.withLock { $0[id]?.hasPageReaders ?? true }
  }
}

extension FuseServer {
  /// Answers a direct write of all bytes of `range`.
  func answerDirectWrite(_ request: fuse_req_t, to number: fuse_ino_t, _ range: Range<Int>) {
    let answer = FuseAnswer.written(range.count)
    guard let id = nodes.inode(number), directHandles.mayHavePages(id) else {
      return FuseReply(request).send(answer)
    }
    notices.answer(request, answer, withoutContentOf: number, range)
  }
}
