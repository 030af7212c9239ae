import CFuse
import FSCore

/// Lets the kernel forget what it knows and was not asked to change, on a thread of its own: names in
/// directories, those too of which it knows that they are not there, and the content of files.
///
/// 1. The kernel takes the directory's lock for a name, and waits for pages of a file that are being read
///    or written. Who holds these may wait for an answer of this mount, so no thread that serves
///    requests may wait for them.
/// 2. A notice that is on its way ends while requests are served. So `end` comes before the session
///    is told to exit, as well as before it is destroyed.
/// 3. An answer that goes with a notice is sent when the kernel has forgotten what the notice is about, or
///    no later than at the end.
///
/// Lock rank: `leaf`.
final class KernelNotices: Sendable {
  private enum Notice {
    case names([[UInt8]], directory: fuse_ino_t, LateAnswer?)
    case content(of: fuse_ino_t, Range<Int>?, LateAnswer?)
  }

  private struct State {
    var waiting: [Notice] = []
    var hasThread = false
    var hasEnded = false
  }

  private let state = Guarded(State(), rank: .leaf)

  /// libfuse's session; set before it begins.
  nonisolated(unsafe) var session: OpaquePointer?

  /// Returns at once. Where there are no names, `answer` is sent at once.
  ///
  /// - Parameter names: not empty, 255 bytes at most, without zero bytes.
  func add(_ names: [[UInt8]], in directory: fuse_ino_t, before answer: LateAnswer? = nil) {
    guard !names.isEmpty else {
      answer?.send()
      return
    }
    add(.names(names, directory: directory, answer))
  }

  /// Has the kernel forget what it has of a file's content, and sends `answer` then. Returns at once.
  ///
  /// - Parameter range: which bytes, and at least one; all where there is none.
  func add(
    contentOf number: fuse_ino_t, _ range: Range<Int>? = nil, before answer: LateAnswer? = nil
  ) {
    add(.content(of: number, range, answer))
  }

  /// Answers `request` when the kernel has forgotten what it has of a file's content; if there are too
  /// many such requests, before.
  func answer(
    _ request: fuse_req_t, _ answer: FuseAnswer, withoutContentOf number: fuse_ino_t,
    _ range: Range<Int>? = nil
  ) {
    if cfuse_may_answer_later() {
      add(contentOf: number, range, before: LateAnswer(request, answer))
    } else {
      FuseReply(request).send(answer)
      add(contentOf: number, range)
    }
  }

  private func add(_ notice: Notice) {
    let needsThread = state.update { state in
      guard !state.hasEnded else { return false }
      state.waiting.append(notice)
      defer { state.hasThread = true }
      return !state.hasThread
    }
    if needsThread { BackgroundThread { [self] in run() }.detach() }
  }

  /// Drops what waits, and waits until nothing is on its way, a second at most. Returns whether the
  /// session is no longer used from here. May be called again.
  @discardableResult
  func end() -> Bool {
    // Answers among them are sent with no lock held.
    let dropped = state.update { state in
      state.hasEnded = true
      defer { state.waiting = [] }
      return state.waiting
    }
    withExtendedLifetime(dropped) {}
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
    switch notice {
    case .names(let names, let directory, let answer):
      for name in names {
        // libfuse sends a zero byte behind the name, from the same memory.
        (name + [0]).withUnsafeBytes { bytes in
          _ = fuse_lowlevel_notify_inval_entry(
            session, directory, bytes.bindMemory(to: CChar.self).baseAddress, name.count)
        }
      }
      fuse_lowlevel_notify_inval_inode(session, directory, 0, 0)
      answer?.send()
    case .content(let number, let range, let answer):
      // No length stands for all that follows.
      fuse_lowlevel_notify_inval_inode(session, number, range?.lowerBound ?? 0, range?.count ?? 0)
      answer?.send()
    }
  }
}
