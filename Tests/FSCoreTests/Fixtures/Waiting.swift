import Glibc
import Testing

/// Waits until `condition` holds; a test that waits in vain fails instead of standing still.
@discardableResult
func expectSoon(
  _ what: Comment, within seconds: Int = 60, sourceLocation: SourceLocation = #_sourceLocation,
  _ condition: () -> Bool
) -> Bool {
  let deadline = ContinuousClock.now + .seconds(seconds)
  while !condition() {
    guard ContinuousClock.now < deadline else {
      Issue.record(what, sourceLocation: sourceLocation)
      return false
    }
    usleep(1000)
  }
  return true
}
