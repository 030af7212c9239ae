import ArgumentParser
import FSCore
import Glibc

struct TrimCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "trim",
    abstract: "Give the free space of a mount back to what its image stands on.",
    discussion: """
      The image file gets holes where nothing is stored, so that it takes no more of the disk than \
      its content; a block device is told which ranges are unused. Only what is free in the last \
      commit goes. The user who mounted the image may do this; root may where the mount lets it in \
      (-o allow_other or allow_root).
      """)

  @Option(
    help: ArgumentHelp(
      "Leave free ranges alone that are shorter, for instance 1M.", valueName: "size"))
  var minimum: ByteSize?

  @Argument(help: "A directory or file in the mount.")
  var path: String

  func run() throws {
    let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else { throw CommandFailure.cannotOpen(path, errno) }
    defer { close(descriptor) }

    var range: [UInt64] = [0, .max, minimum?.bytes ?? 0]
    let status = range.withUnsafeMutableBytes {
      ioctl(descriptor, ControlCommand.trim, $0.baseAddress!)
    }
    guard status == 0 else {
      let code = errno
      switch code {
      case ENOTTY: throw CommandFailure.notInMount(path)
      case EOPNOTSUPP:
        throw CommandFailure("\(path): its image stands where single ranges cannot be freed")
      case EROFS: throw CommandFailure("\(path): the mount is read-only, so nothing is trimmed")
      case EPERM:
        throw CommandFailure("\(path): only the user who mounted it, and root, may trim this mount")
      default: throw CommandFailure("\(path): \(String(cString: strerror(code)))")
      }
    }
    print("\(path): \(ByteCount.text(range[1])) trimmed")
  }
}
