import Glibc

/// Runs an unmount command until it does not fail for a busy mount: another test that starts a
/// program at this moment has, until the program runs, a copy of every file that is open here.
package func unmountWhenIdle(_ attempt: () throws -> CommandResult) rethrows -> CommandResult {
  var result = try attempt()
  for _ in 0..<100 where !result.succeeded {
    guard ["busy", "has a file open"].contains(where: result.summary.contains) else { break }
    usleep(50_000)
    result = try attempt()
  }
  return result
}
