import Glibc
import TestSupport

/// A mount by somebody else's FUSE server, kept in the foreground as a child.
final class ForeignMount: MountedImage {
  let image: String
  let directory: String
  private let server: RunningCommand
  private var isMounted = true

  init(_ arguments: [String], _ image: String, _ directory: String) throws {
    self.image = image
    self.directory = directory
    server = try RunningCommand(arguments)
    let deadline = monotonicSeconds() + 30
    while MountTableEntry.at(directory) == nil {
      guard server.poll() == nil, monotonicSeconds() < deadline else {
        isMounted = false
        throw TestFailure("\(server.command) does not mount: \(server.wait(timeout: 0).text)")
      }
      usleep(2_000)
    }
    var status = stat()
    try check("stat \(directory)") { stat(directory, &status) }
  }

  func sync() throws { try syncFileSystem(directory) }

  func unmount() throws {
    guard isMounted else { return }
    isMounted = false
    try unmountWhenIdle {
      try Shell.run(isRoot ? ["umount", directory] : ["fusermount3", "-u", directory])
    }.orThrow()
    // The server goes on writing after the mount has gone.
    _ = server.wait(timeout: 120)
  }

  deinit { try? unmount() }
}
