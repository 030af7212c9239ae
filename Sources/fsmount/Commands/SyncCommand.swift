import ArgumentParser
import CFuse
import Glibc

struct SyncCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sync",
    abstract: "Write everything in a mount to its image, now.",
    discussion: "When it returns with status 0, all that was written before it began is durable.")

  @Argument(help: "A directory or file in the mount.")
  var path: String

  func run() throws {
    let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else { throw CommandFailure.cannotOpen(path, errno) }
    defer { close(descriptor) }

    // First what the kernel has of mapped files, then what the mount has.
    guard cfuse_syncfs(descriptor) == 0, ioctl(descriptor, ControlCommand.synchronize) == 0 else {
      let code = errno
      guard code != ENOTTY else { throw CommandFailure.notInMount(path) }
      throw CommandFailure(
        "\(path): not everything could be written: \(String(cString: strerror(code)))")
    }
  }
}
