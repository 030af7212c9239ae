/// Keeps a subvolume's writes that are made where data stand apart from its snapshots: such a write
/// would show in a snapshot that is taken while it is on its way. Lock rank: `leaf`.
///
/// 1. A write of that kind is decided on, made and noted in the trees between `enter` and `leave`. A
///    snapshot is taken while nobody is in between.
/// 2. Bytes for which no space is reserved, as they are to be written in place, are buffered between
///    `enterUnreserved` and `leaveUnreserved`. A snapshot lets none be buffered, and has all of them
///    written, before it keeps writes from being made in place: else they would need space that is
///    not there.
/// 3. Nobody waits here but the thread that takes a snapshot. It holds no lock of a file.
final class InPlaceGate: Sendable {
  private struct State {
    var writing = 0
    var buffering = 0
    /// How many snapshots want no unreserved bytes, and no writes in place.
    var withoutBuffering = 0
    var withoutWriting = 0
  }

  private let state = Guarded(State(), rank: .leaf)

  /// Whether a batch may be written in place; then `leave` follows.
  func enter() -> Bool {
    state.withLock { state in
      guard state.withoutWriting == 0 else { return false }
      state.writing += 1
      return true
    }
  }

  func leave() {
    let mustWake = state.withLock { state in
      state.writing -= 1
      return state.withoutWriting > 0 && state.writing == 0
    }
    if mustWake { state.update { _ in } }
  }

  /// Whether bytes may be buffered without space of their own; then `leaveUnreserved` follows.
  func enterUnreserved() -> Bool {
    state.withLock { state in
      guard state.withoutBuffering == 0 else { return false }
      state.buffering += 1
      return true
    }
  }

  func leaveUnreserved() { state.update { $0.buffering -= 1 } }

  /// Runs `snapshot` while nothing is written in place. `flush` writes back all that is buffered
  /// when it is called; where that throws no snapshot is taken.
  func closed<R>(
    flush: () throws(FilesystemError) -> Void, _ snapshot: () throws(FilesystemError) -> R
  ) throws(FilesystemError) -> R {
    state.withLock { $0.withoutBuffering += 1 }
    defer { state.withLock { $0.withoutBuffering -= 1 } }
    state.when({ $0.buffering == 0 }) { _ in }
    try flush()
    state.withLock { $0.withoutWriting += 1 }
    defer { state.withLock { $0.withoutWriting -= 1 } }
    state.when({ $0.writing == 0 }) { _ in }
    return try snapshot()
  }
}
