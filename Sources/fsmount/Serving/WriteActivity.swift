import Glibc
import Synchronization

/// Counts the kernel's writes, to tell when it has sent all that it had. syncfs(2) on a FUSE mount
/// sends what programs have written into mapped memory, but Linux 6.18 was seen to return before
/// that is written, and has no other way to ask. A gap is a sign, and no proof: only msync(2) and
/// fsync(2) are waited for with certainty.
final class WriteActivity: Sendable {
  private let begun = Atomic<UInt64>(0)
  private let ended = Atomic<UInt64>(0)

  @inline(__always)
  func during<Result, Failure: Error>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    begun.add(1, ordering: .relaxed)
    defer { ended.add(1, ordering: .releasing) }
    return try body()
  }

  /// Waits until no write has been running, and none has come, for a moment. The kernel sends the
  /// next as soon as one is answered, so a gap means that it has no more.
  func waitForGap(milliseconds: Int) {
    let step = 5
    var quiet = 0
    var last: UInt64?
    // Programs that write without end are not waited for.
    for _ in 0..<(30_000 / step) where quiet < milliseconds {
      let ended = ended.load(ordering: .acquiring)
      let begun = begun.load(ordering: .relaxed)
      quiet = begun == ended && begun == last ? quiet + step : 0
      last = begun
      usleep(UInt32(step * 1000))
    }
  }
}
