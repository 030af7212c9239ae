import ArgumentParser
import FSCore

struct MkfsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mkfs",
    abstract: "Make a new, empty file system in an image.",
    discussion: """
      The image is a file, which is created (sparse) if it does not exist, or a block device. One that \
      has a file system already is left alone, unless --force is given. Sizes may end in K, M, G or T, in \
      powers of 1024.
      """)

  @Option(help: "Length of the image. Default: that of the existing one.")
  var size: ByteSize?

  @Option(help: "Name of the file system, at most 255 bytes.")
  var label = ""

  @Option(help: "UUID of the file system. Default: a random one.")
  var uuid: UUIDArgument?

  @Option(
    help: ArgumentHelp(
      "Bytes of a tree node: 4096 to 65536. Default: 16384, with --mixed 4096.",
      valueName: "size"))
  var nodesize: ByteSize?

  @Option(
    help: ArgumentHelp(
      "Copies of metadata: single or dup. Default: dup, with --mixed as the data.",
      valueName: "profile"))
  var metadata: MakeFilesystem.Profile?

  @Option(
    help: ArgumentHelp(
      "Copies of data: single or dup. Default: single.", valueName: "profile"))
  var data: MakeFilesystem.Profile?

  @Flag(help: "Keep data and metadata in the same block groups: for small images.")
  var mixed = false

  @Option(help: ArgumentHelp("Checksum of data and metadata.", valueName: "type"))
  var csum = ChecksumArgument(type: .crc32c)

  @Option(
    help: ArgumentHelp(
      "What keeps free space: v1, a cache for each block group, or v2, the free space tree.",
      discussion: "Default: v1, with --block-group-tree v2.", valueName: "form"))
  var spaceCache: MakeFilesystem.SpaceRecord?

  @Flag(help: "Keep block group items in a tree of their own, which Linux 6.1 and later read.")
  var blockGroupTree = false

  @Flag(name: .shortAndLong, help: "Overwrite what is in the image, whatever it is.")
  var force = false

  @Argument(help: ArgumentHelp("The file or block device.", valueName: "image"))
  var image: String

  func run() throws {
    var options = MakeFilesystem.Options()
    options.sizeBytes = size?.bytes
    options.label = label
    options.nodeSize = nodesize?.bytes
    options.metadata = metadata
    options.data = data
    options.isMixed = mixed
    options.checksum = csum.type
    options.spaceRecord = spaceCache
    options.hasBlockGroupTree = blockGroupTree
    options.force = force
    if let uuid { options.identities.fsid = uuid.value }

    let summary = try MakeFilesystem.create(path: image, options: options)
    for line in lines(summary) { print(line) }
  }

  private func lines(_ summary: MakeFilesystem.Summary) -> [String] {
    let superblock = summary.superblock
    let groups = summary.chunks.map { chunk in
      let flags = chunk.item.flags
      return "\(flags.typeName) \(flags.profileName) \(ByteCount.text(chunk.length))"
    }
    var list = TextList()
    list.add("label", superblock.label.isEmpty ? "(none)" : superblock.label)
    list.add("uuid", "\(superblock.fsid)")
    list.add("node size", ByteCount.exactText(UInt64(superblock.nodeSize)))
    list.add("checksum", superblock.checksumType?.name ?? "")
    let features = superblock.readOnlyFeatures
    list.add(
      "free space", features.contains(.freeSpaceTree) ? "free space tree (v2)" : "caches (v1)")
    if features.contains(.blockGroupTree) { list.add("block group tree", "yes") }
    list.add("block groups", groups.joined(separator: ", "))
    let style = TextStyle.ofStandardOutput()
    let size = ByteCount.text(superblock.totalBytes)
    return ["\(image): a new btrfs file system of \(size)"] + list.lines(style)
  }
}

/// A UUID in its usual text form.
struct UUIDArgument: ExpressibleByArgument {
  let value: UUIDBytes

  init?(argument: String) {
    guard let value = UUIDBytes(text: argument) else { return nil }
    self.value = value
  }
}

extension MakeFilesystem.Profile: ExpressibleByArgument {
  public init?(argument: String) { self.init(rawValue: argument.lowercased()) }
}

extension MakeFilesystem.SpaceRecord: ExpressibleByArgument {
  public init?(argument: String) { self.init(rawValue: argument.lowercased()) }
}

/// A kind of checksum by its name.
struct ChecksumArgument: ExpressibleByArgument {
  let type: ChecksumType

  init(type: ChecksumType) { self.type = type }

  init?(argument: String) {
    guard let type = ChecksumType.allCases.first(where: { $0.name == argument.lowercased() })
    else { return nil }
    self.type = type
  }

  var defaultValueDescription: String { type.name }

  static var allValueStrings: [String] { ChecksumType.allCases.map(\.name) }
}
