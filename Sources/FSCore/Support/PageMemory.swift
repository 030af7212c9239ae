import Glibc

/// Memory in whole pages, for everything that device IO goes to and comes from: tree blocks,
/// buffered file data, staging. Lock rank: `pageMemory`.
///
/// malloc(3) would put a block of 16 KiB that is aligned to a page among small objects, with a
/// hole beside it, in the arena of whichever thread asked; what is freed then stays with the
/// process. Here a piece is pages and nothing but pages, so it can go back to the system alone.
///
/// 1. Pieces have the sizes 4 KiB, 8 KiB … 512 KiB. Each is handed out again for its own size
///    only: address space is not given back, memory is.
/// 2. Memory that is free and not given back (`spareBytes`) is no more than what `bound` leaves
///    beside `usedBytes`, but for `leastSpare`.
/// 3. What is longer comes from the system, is given back to it, and is not counted.
package final class PageMemory: Sendable {
  package static let shared = PageMemory()

  package static let pageSize = 4096
  private static let largestPiece = 512 << 10
  private static let classCount = (largestPiece / pageSize).trailingZeroBitCount + 1
  /// Address space is taken in this unit.
  private static let regionSize = 16 << 20
  /// Pieces that come and go all the time are kept even when everything is in use.
  private static let leastSpare = 1 << 20

  private struct State {
    /// Free, and still in memory; by size.
    var spare = [[UnsafeMutableRawPointer]](repeating: [], count: classCount)
    /// Free addresses without memory.
    var emptied = [[UnsafeMutableRawPointer]](repeating: [], count: classCount)
    /// What was never used of the newest region.
    var fresh = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    var usedBytes = 0
    var spareBytes = 0
    var bound = 32 << 20
  }

  private let state = Guarded(State(), rank: .pageMemory)

  /// What is handed out.
  package var usedBytes: Int { state.withLock { $0.usedBytes } }

  /// What is kept to be handed out again.
  package var spareBytes: Int { state.withLock { $0.spareBytes } }

  /// Up to which sum of used and spare memory what is freed is kept. One for the process: that
  /// of the largest budget.
  package func raiseBound(to bytes: Int) { state.withLock { $0.bound = max($0.bound, bytes) } }

  /// How much memory `count` bytes take.
  package static func size(holding count: Int) -> Int {
    if count > largestPiece { return (count + pageSize - 1) / pageSize * pageSize }
    return pageSize << classIndex(count)
  }

  private static func classIndex(_ count: Int) -> Int {
    let pages = max(1, (count + pageSize - 1) / pageSize)
    return Int.bitWidth - (pages - 1).leadingZeroBitCount
  }

  /// Memory for `count` bytes, not initialised.
  func take(_ count: Int) -> UnsafeMutableRawPointer {
    if count > Self.largestPiece { return Self.map(Self.size(holding: count)) }
    let index = Self.classIndex(count)
    let size = Self.pageSize << index
    let (piece, isTooMuch) = state.withLock { state in
      state.usedBytes += size
      if let piece = state.spare[index].popLast() {
        state.spareBytes -= size
        return (piece, false)
      }
      let piece = state.emptied[index].popLast() ?? Self.carve(size, from: &state)
      return (piece, !Self.mayKeep(0, state))
    }
    if isTooMuch { emptySurplus() }
    return piece
  }

  /// Takes back what `take` returned for the same count.
  func giveBack(_ piece: UnsafeMutableRawPointer, _ count: Int) {
    guard count <= Self.largestPiece else {
      munmap(piece, Self.size(holding: count))
      return
    }
    let index = Self.classIndex(count)
    let size = Self.pageSize << index
    let isKept = state.withLock { state in
      state.usedBytes -= size
      guard Self.mayKeep(size, state) else { return false }
      state.spareBytes += size
      state.spare[index].append(piece)
      return true
    }
    if !isKept { empty(piece, index) }
  }

  private static func mayKeep(_ more: Int, _ state: borrowing State) -> Bool {
    let spare = state.spareBytes + more
    return spare <= leastSpare || state.usedBytes + spare <= state.bound
  }

  /// Gives spare pieces back because more is used now; the largest first.
  private func emptySurplus() {
    while true {
      let surplus = state.withLock { state -> (UnsafeMutableRawPointer, Int)? in
        if Self.mayKeep(0, state) { return nil }
        for index in stride(from: Self.classCount - 1, through: 0, by: -1) {
          guard let piece = state.spare[index].popLast() else { continue }
          state.spareBytes -= Self.pageSize << index
          return (piece, index)
        }
        return nil
      }
      guard let (piece, index) = surplus else { return }
      empty(piece, index)
    }
  }

  /// Gives a free piece's memory back to the system.
  private func empty(_ piece: UnsafeMutableRawPointer, _ index: Int) {
    madvise(piece, Self.pageSize << index, MADV_DONTNEED)
    state.withLock { $0.emptied[index].append(piece) }
  }

  private static func carve(_ size: Int, from state: inout State) -> UnsafeMutableRawPointer {
    if state.fresh.count < size {
      state.fresh = UnsafeMutableRawBufferPointer(start: map(regionSize), count: regionSize)
      // A huge page would be filled, and filled anew, around the one piece that is in use.
      madvise(state.fresh.baseAddress!, regionSize, MADV_NOHUGEPAGE)
    }
    let piece = state.fresh.baseAddress!
    state.fresh = UnsafeMutableRawBufferPointer(rebasing: state.fresh[size...])
    return piece
  }

  private static func map(_ count: Int) -> UnsafeMutableRawPointer {
    let memory = mmap(
      nil, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let memory, memory != MAP_FAILED else { fatalError("out of memory") }
    return memory
  }
}
