import CFuse
import FSCore

/// Lets the kernel forget what it knows of names that it was not asked to change, those too of which
/// it knows that they are not there; on a thread of its own.
///
/// 1. The kernel takes the directory's lock for that. Who holds it may wait for an answer of this
///    mount, so no thread that serves requests may wait for the lock.
/// 2. A notice that is on its way ends while requests are served. So `end` comes before the session
///    is told to exit, as well as before it is destroyed.
///
/// Lock rank: `leaf`.
final class DirectoryNotices: Sendable {
  private struct Notice {
    let directory: fuse_ino_t
    let names: [[UInt8]]
  }

  private struct State {
    var waiting: [Notice] = []
    var hasThread = false
    var hasEnded = false
  }

  private let state = Guarded(State(), rank: .leaf)

  /// libfuse's session; set before it begins.
  nonisolated(unsafe) var session: OpaquePointer?

  /// Returns at once.
  ///
  /// - Parameter names: not empty, 255 bytes at most, without zero bytes.
  func add(_ names: [[UInt8]], in directory: fuse_ino_t) {
    guard !names.isEmpty else { return }
    let needsThread = state.update { state in
      guard !state.hasEnded else { return false }
      state.waiting.append(Notice(directory: directory, names: names))
      defer { state.hasThread = true }
      return !state.hasThread
    }
    if needsThread { BackgroundThread { [self] in run() }.detach() }
  }

  /// Drops what waits, and waits until nothing is on its way, a second at most. Returns whether the
  /// session is no longer used from here. May be called again.
  @discardableResult
  func end() -> Bool {
    state.update { state in
      state.hasEnded = true
      state.waiting = []
    }
    return state.wait(atMost: 1) { !$0.hasThread }
  }

  private func run() {
    while let notice = next() { send(notice) }
    state.update { $0.hasThread = false }
  }

  /// Waits for one; nil at the end.
  private func next() -> Notice? {
    state.when({ $0.hasEnded || !$0.waiting.isEmpty }) { state in
      state.waiting.isEmpty ? nil : state.waiting.removeFirst()
    }
  }

  private func send(_ notice: Notice) {
    for name in notice.names {
      // libfuse sends a zero byte behind the name, from the same memory.
      (name + [0]).withUnsafeBytes { bytes in
        _ = fuse_lowlevel_notify_inval_entry(
          session, notice.directory, bytes.bindMemory(to: CChar.self).baseAddress, name.count)
      }
    }
    fuse_lowlevel_notify_inval_inode(session, notice.directory, 0, 0)
  }
}
