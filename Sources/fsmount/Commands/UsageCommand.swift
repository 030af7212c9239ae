import ArgumentParser
import CFuse
import FSCore
import Glibc

struct UsageCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "usage",
    abstract: "Show how the space of a mount or an image is used.",
    discussion: """
      Tells what 'btrfs filesystem usage' tells. Of a mount, the user who mounted it may ask, and \
      root. What btrfs prints as the global reserve is its own; here it is fsmount's.
      """)

  @Flag(name: [.customShort("b"), .customLong("raw")], help: "Print plain numbers of bytes.")
  var isExact = false

  @Flag(help: "Print JSON.")
  var json = false

  @Argument(
    help: ArgumentHelp(
      "A mounted directory, or the image.", valueName: "mountpoint-or-image"))
  var path: String

  func run() throws {
    let (usage, reader) = try measure()
    if json {
      print(ControlJSON.text(usage))
    } else {
      let report = UsageReport(usage: usage, isExact: isExact)
      for line in report.lines(.ofStandardOutput()) { print(line) }
    }
    if let reader { try InspectedImage.finish(path, reader) }
  }

  /// A reader where an image that is not mounted was looked at.
  private func measure() throws -> (SpaceUsage, ImageReader?) {
    var status = stat()
    let isDirectory = stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    let mount = isDirectory ? path : MountTable.mountPoint(ofImage: path)
    if let mount { return (try ControlChannel(mount).ask(UsageCall()), nil) }

    let reader = try InspectedImage.reader(path)
    var usage = try UsageSurvey(reader).usage()
    let device = reader.device.devices.members[0].id.rawValue
    usage.setPath(path, ofDevice: device)
    return (usage, reader)
  }
}
