import ArgumentParser
import FSCore

struct InspectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract: "Show the structures of an image, without mounting it.",
    discussion: """
      Shows what can be read of a damaged image, says what cannot, and then exits with 1.
      """,
    subcommands: [
      InspectSuper.self, InspectChunks.self, InspectGroups.self, InspectTree.self,
    ])
}

/// The image that all of them look at.
struct InspectedImage: ParsableArguments {
  @Argument(help: ArgumentHelp("The file or block device.", valueName: "image"))
  var path: String

  func device() throws -> FileDevice { try FileDevice(path: path, readOnly: true) }

  func reader() throws -> ImageReader { try Self.reader(path) }

  static func reader(_ path: String) throws -> ImageReader {
    let device = try FileDevice(path: path, readOnly: true)
    do throws(FilesystemError) {
      return try ImageReader(device: device)
    } catch {
      throw CommandFailure("\(path): \(error)")
    }
  }

  func finish(_ reader: ImageReader) throws { try Self.finish(path, reader) }

  /// Says what was found wrong, and ends with status 1 when something was.
  static func finish(_ path: String, _ reader: ImageReader) throws {
    for problem in reader.problems { StandardError.write("fsmount: \(path): \(problem)") }
    if reader.problemCount > reader.problems.count {
      StandardError.write("fsmount: \(path): \(reader.problemCount) problems in all")
    }
    if reader.problemCount > 0 { throw ExitCode(1) }
  }
}

struct InspectSuper: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "super", abstract: "The superblock and its copies.")

  @OptionGroup var image: InspectedImage

  func run() throws {
    let device = try image.device()
    let style = TextStyle.ofStandardOutput()
    var copies = TextTable([
      ("COPY AT", .right), ("GENERATION", .right), ("ROOT", .right), ("STATE", .left),
    ])
    var shown: Superblock?
    var finding: String?
    for offset in Format.superblockOffsets {
      let address = PhysicalAddress(offset)
      guard let copy = try ImageOpening.superblock(at: address, of: device) else { continue }
      let doubt = doubt(of: copy, at: address, device)
      // The other copies may lag behind, or be missing on a device that grew.
      if offset == Format.superblockOffsets[0] { finding = doubt }
      if shown == nil, doubt == nil || copy.magic == Format.magic { shown = copy }
      copies.add([
        .init("\(offset)"), .init("\(copy.generation)"), .init("\(copy.root)"),
        .init(doubt ?? "good", doubt == nil ? .green : .red),
      ])
    }
    guard let shown else {
      throw CommandFailure("\(image.path): no btrfs superblock found", status: .failed)
    }
    print(style.paint("Superblock of \(image.path)", .bold))
    for line in SuperblockText(superblock: shown).lines(style) { print(line) }
    print("")
    for line in copies.lines(style) { print(line) }
    if let finding { throw CommandFailure("\(image.path): \(finding)") }
  }

  private func doubt(
    of copy: Superblock, at address: PhysicalAddress, _ device: any BlockDevice
  ) -> String? {
    do throws(FilesystemError) {
      try copy.validate(deviceSize: device.sizeBytes)
    } catch {
      return "\(error)"
    }
    return copy.address == address ? nil : "written for \(copy.address)"
  }
}

struct InspectChunks: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "chunks", abstract: "Where logical addresses stand on the device.")

  @OptionGroup var image: InspectedImage

  func run() throws {
    let reader = try image.reader()
    let style = TextStyle.ofStandardOutput()
    var table = TextTable([
      ("START", .right), ("LENGTH", .right), ("", .right), ("TYPE", .left), ("PROFILE", .left),
      ("ON DEVICE AT", .left), ("KEPT FOR SUPERBLOCKS", .left),
    ])
    for chunk in reader.chunks {
      let flags = chunk.item.flags
      let mirrors = (try? reader.device.chunks.mirrors(at: chunk.start)) ?? []
      let places = mirrors.map { "\($0.offset)" }.joined(separator: ", ")
      let kept = chunk.superblockRanges.map { "\($0.start) + \($0.length)" }
      table.add([
        .init("\(chunk.start)"), .init("\(chunk.length)"),
        .init(ByteCount.text(chunk.length), .dim), .init(flags.typeName),
        .init(flags.profileName), mirrors.isEmpty ? .init("elsewhere", .dim) : .init(places),
        .init(kept.joined(separator: ", ")),
      ])
    }
    for line in table.lines(style) { print(line) }
    let device = try reader.superblock.deviceItem
    print("")
    print(
      "\(ByteCount.text(device.bytesUsed)) of \(ByteCount.text(device.totalBytes)) are allocated",
      style.bar(device.bytesUsed, of: device.totalBytes, width: 20))
    try image.finish(reader)
  }
}

struct InspectGroups: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "groups", abstract: "The block groups and how full they are.")

  @OptionGroup var image: InspectedImage

  func run() throws {
    let reader = try image.reader()
    let survey = CacheSurvey(reader)
    let style = TextStyle.ofStandardOutput()
    var table = TextTable([
      ("START", .right), ("LENGTH", .right), ("TYPE", .left), ("PROFILE", .left),
      ("IN USE", .left), ("USED", .right), ("", .right), ("FREE", .right),
    ])
    var sums: [(name: String, used: UInt64, length: UInt64)] = []
    for chunk in reader.chunks {
      let flags = chunk.item.flags
      let used = survey.blockGroupItem(of: chunk)?.used ?? 0
      let kept = chunk.superblockRanges.reduce(0) { $0 + $1.length }
      let taken = min(used.addingReportingOverflow(kept).partialValue, chunk.length)
      table.add([
        .init("\(chunk.start)"), .init(ByteCount.text(chunk.length)), .init(flags.typeName),
        .init(flags.profileName), .init(style.bar(used, of: chunk.length, width: 20), .green),
        .init("\(used)"), .init(ByteCount.text(used), .dim),
        .init(ByteCount.text(chunk.length - taken)),
      ])
      let name = "\(flags.typeName) \(flags.profileName)"
      let index = sums.firstIndex { $0.name == name } ?? sums.count
      if index == sums.count { sums.append((name, 0, 0)) }
      sums[index].used = sums[index].used.addingReportingOverflow(used).partialValue
      sums[index].length += chunk.length
    }
    for line in table.lines(style) { print(line) }
    print("")
    for sum in sums {
      print("\(sum.name): \(ByteCount.text(sum.used)) of \(ByteCount.text(sum.length)) used")
    }
    try image.finish(reader)
  }
}

struct InspectTree: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tree", abstract: "The blocks and items of one tree.")

  @Argument(
    help: ArgumentHelp(
      "A number, or root, extent, chunk, dev, fs, csum, uuid, data-reloc, log, ...",
      valueName: "id"))
  var tree: String

  @OptionGroup var image: InspectedImage

  @Option(help: "Only items of this object id.")
  var object: UInt64?

  @Flag(help: "Only the blocks, without their items.")
  var blocks = false

  func run() throws {
    guard let id = ItemText.tree(named: tree) else {
      throw CommandFailure("'\(tree)' is no tree: give its number or name", status: .usage)
    }
    let reader = try image.reader()
    let style = TextStyle.ofStandardOutput()
    let root = try root(of: id, reader)

    let first = Key(ObjectID(object ?? 0), .untyped, 0)
    let last = Key(ObjectID(object ?? .max), ItemType(.max), .max)
    try reader.walkBlocks(root, from: first, through: last) {
      (pointer, block) throws(FilesystemError) in
      print(heading(pointer, block, root, style))
      guard pointer.level == 0, !blocks else { return true }
      return try reader.forEachItem(of: block) { (key, bytes) throws(FilesystemError) in
        guard key >= first, key <= last else { return key < first }
        let content = ItemText.content(key, bytes, reader.geometry)
        print("    \(style.paint(ItemText.key(key), .cyan))  \(content)")
        return true
      }
    }
    try image.finish(reader)
  }

  private func root(of id: TreeID, _ reader: ImageReader) throws -> BlockPointer {
    do throws(FilesystemError) {
      return try reader.root(of: id)
    } catch {
      guard case .notFound = error else { throw error }
      throw CommandFailure("\(image.path) has no \(ItemText.name(of: id))")
    }
  }

  private func heading(
    _ pointer: BlockPointer, _ block: UnsafeRawBufferPointer, _ root: BlockPointer,
    _ style: TextStyle
  ) -> String {
    let header = BlockHeader(block.bytes)
    let indent = String(repeating: "  ", count: Int(root.level - pointer.level))
    let kind = pointer.level == 0 ? "leaf" : "node of level \(pointer.level)"
    let count = pointer.level == 0 ? "items" : "children"
    return indent + style.paint("\(kind) \(pointer.address)", .bold)
      + "  \(header.itemCount) \(count), generation \(header.generation), "
      + "owner \(Int64(bitPattern: header.owner.rawValue))"
  }
}
