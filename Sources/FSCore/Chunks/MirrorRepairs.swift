/// Whether bad copies may be written anew from good ones. Lock rank: `leaf`.
///
/// 1. Nothing is written before `allow`: an image is read before it is known whether it may be
///    written. What could be mended meanwhile is kept, up to a bound, and written then.
/// 2. Nothing is written after `forbid`, nor kept.
package final class MirrorRepairs: Sendable {
  private enum State {
    case undecided([Repair])
    case allowed
    case forbidden
  }

  /// One copy, and what it is to hold.
  package struct Repair: Sendable {
    let address: LogicalAddress
    let mirror: Int
    let bytes: [UInt8]
    let what: String
  }

  /// Opening an image reads a few blocks of each tree.
  private static let mostKept = 64

  private let state = Guarded(State.undecided([]), rank: .leaf)

  package init() {}

  /// From now on repairs are written. Returns those that were kept; the caller writes them.
  func allow() -> [Repair] {
    state.withLock { state in
      guard case .undecided(let kept) = state else { return [] }
      state = .allowed
      return kept
    }
  }

  /// For good: the image is read-only, or has become so.
  package func forbid() { state.withLock { $0 = .forbidden } }

  /// Whether a repair is to be written now. One that has to wait is kept, by way of `repair`.
  func mayWrite(otherwise repair: () -> Repair) -> Bool {
    state.withLock { state in
      switch state {
      case .allowed: return true
      case .forbidden: return false
      case .undecided(var kept):
        if kept.count < Self.mostKept { kept.append(repair()) }
        state = .undecided(kept)
        return false
      }
    }
  }
}
