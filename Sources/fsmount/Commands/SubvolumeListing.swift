import ArgumentParser
import FSCore
import Glibc
import Logging

/// Where subvolumes are listed: a mount, or an image that is not mounted.
struct SubvolumeSource {
  let path: String
  /// A path in the mount; nil for an image.
  let mount: String?

  init(_ path: String) {
    self.path = path
    mount = SubvolumePath.isDirectory(path) ? path : MountTable.mountPoint(ofImage: path)
  }

  func list() throws -> SubvolumeListCall.Answer {
    if let mount { return try ControlChannel(mount).ask(SubvolumeListCall()) }
    var options = VolumeOptions()
    options.readOnly = true
    options.noLogReplay = true
    do throws(FilesystemError) {
      let device = try FileDevice(path: path, readOnly: true)
      let image = try OpenedImage(
        device: device, options: options,
        log: Logger(label: "fsmount") { _ in SwiftLogNoOpLogHandler() })
      return SubvolumeListCall.Answer(
        subvolumes: try SubvolumeList(image.trees).all().map { SubvolumeReport($0) },
        defaultSubvolume: try image.defaultSubvolume().rawValue)
    } catch {
      throw CommandFailure("\(path): \(error)")
    }
  }

  /// One subvolume: by its number, or the one that the path leads to.
  func show(_ id: UInt64?) throws -> SubvolumeShowCall.Answer {
    if let mount {
      let answer = try ControlChannel(mount).ask(SubvolumeShowCall(id: id))
      guard answer.isRoot else { throw CommandFailure("\(path) is not a subvolume") }
      return answer
    }
    let id = id ?? TreeID.topLevel.rawValue
    guard let answer = SubvolumeReport.answer(for: id, isRoot: true, among: try list().subvolumes)
    else { throw CommandFailure("\(path): there is no subvolume \(id)") }
    return answer
  }
}

struct SubvolumeListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List the subvolumes and snapshots of a mount or an image.")

  @Flag(name: [.customShort("p")], help: "Print the number of the parent.")
  var parent = false
  @Flag(name: [.customShort("c")], help: "Print the generation of creation.")
  var creation = false
  @Flag(name: [.customShort("u")], help: "Print UUIDs.")
  var uuid = false
  @Flag(name: [.customShort("q")], help: "Print UUIDs of parents.")
  var parentUUID = false
  @Flag(name: [.customShort("R")], help: "Print UUIDs of what was received.")
  var receivedUUID = false
  @Flag(name: [.customShort("s")], help: "List snapshots alone, with the time of creation.")
  var snapshotsOnly = false
  @Flag(name: [.customShort("r")], help: "List read-only subvolumes alone.")
  var readOnlyOnly = false
  @Flag(help: "Print JSON.")
  var json = false

  @Argument(
    help: ArgumentHelp("A directory in the mount, or the image.", valueName: "path-or-image"))
  var path: String

  func run() throws {
    let reports = try SubvolumeSource(path).list().subvolumes.filter {
      $0.parent != nil && (!snapshotsOnly || $0.parentUuid != nil)
        && (!readOnlyOnly || $0.isReadOnly)
    }
    if json { return print(ControlJSON.text(reports)) }
    let columns = SubvolumeText.Columns(
      creationGeneration: creation || snapshotsOnly, parent: parent, creationTime: snapshotsOnly,
      parentUUID: parentUUID, receivedUUID: receivedUUID, uuid: uuid)
    for report in reports { print(SubvolumeText.line(report, columns)) }
  }
}

struct SubvolumeShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show",
    abstract: "Show what is known of a subvolume.",
    discussion: "Of an image that is not mounted: of its top level, or of the one with the number.")

  @Option(name: [.customShort("r"), .customLong("rootid")], help: "The number of the subvolume.")
  var id: UInt64?

  @Flag(help: "Print JSON.")
  var json = false

  @Argument(help: ArgumentHelp("The subvolume, or the image.", valueName: "path-or-image"))
  var path: String

  func run() throws {
    let answer = try SubvolumeSource(path).show(id)
    if json { return print(ControlJSON.text(answer)) }
    for line in SubvolumeText.lines(answer) { print(line) }
  }
}
