import Glibc
import Synchronization

/// What may still be on its way from the kernel when programs no longer write. syncfs(2) on a FUSE
/// mount sends what they have written into mapped memory, but Linux 6.18 was seen to return before
/// that is written, and has no other way to ask.
///
/// 1. Only an open file can be mapped to be written to, and the kernel says that one is closed only
///    when all that it had of it has been written. So without such files nothing is on its way.
/// 2. With them a gap between two writes is a sign that no more will come, and no proof: only
///    msync(2) and fsync(2) are waited for with certainty.
final class WriteActivity: Sendable {
  private let begun = Atomic<UInt64>(0)
  private let ended = Atomic<UInt64>(0)
  /// How many files are open of which the kernel may keep what is written.
  private let kept = Atomic<Int>(0)

  @inline(__always)
  func during<Result, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    begun.add(1, ordering: .relaxed)
    defer { ended.add(1, ordering: .releasing) }
    return try body()
  }

  /// A file was opened of which the kernel may keep what is written, until `didClose`.
  func didOpen() { kept.add(1, ordering: .acquiringAndReleasing) }
  func didClose() { kept.subtract(1, ordering: .acquiringAndReleasing) }

  /// Waits, if any such file is open, until no write has been running, and none has come, for a
  /// moment. The kernel sends the next as soon as one is answered, so a gap means that it has no
  /// more.
  func waitForGap(milliseconds: Int) {
    let step = 5
    var quiet = 0
    var last: UInt64?
    // Programs that write without end are not waited for.
    for _ in 0..<(30_000 / step) where quiet < milliseconds {
      if kept.load(ordering: .acquiring) == 0 { return }
      let ended = ended.load(ordering: .acquiring)
      let begun = begun.load(ordering: .relaxed)
      quiet = begun == ended && begun == last ? quiet + step : 0
      last = begun
      usleep(UInt32(step * 1000))
    }
  }
}
