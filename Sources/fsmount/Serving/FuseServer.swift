import CFuse
import FSCore
import Glibc
import Logging

/// What libfuse's threads have in common: the volume, and how its inodes look to the kernel.
///
/// 1. Every change of the volume comes through this mount, so the kernel may keep names,
///    attributes and content for as long as it likes; it drops by itself what a request of its
///    own changes, and counts links by itself. What an ioctl changes it has to be told
///    (`KernelNotices`).
/// 2. An inode without a name lives until it is closed and the kernel has forgotten its number.
final class FuseServer: Sendable {
  /// How long the kernel may believe what it was told.
  static let cacheSeconds = 86400.0

  /// The largest read or write that libfuse lets through.
  static let largestTransfer = 1 << 20

  let volume: Volume
  let nodes: NodeNumbers
  let log: Logger
  let buffers = ThreadBuffer(standardSize: FuseServer.largestTransfer)
  let watchers = UnmountWatchers()
  let directoryReaders = DirectoryReaders()
  let writes = WriteActivity()
  let notices = KernelNotices()
  let firstOpens = FirstOpens()
  let directHandles = DirectHandles()
  let prefetcher = Prefetcher()
  let requests: RequestCounters
  let control: ControlServer
  let resizes: ResizeJob

  private let maximumRead: UInt32
  /// Whether the kernel checks permissions, and is to look at access control lists for that. It
  /// would check them all the more once it was told of lists.
  let checksPermissions: Bool
  /// Whether close(2) of a file that was open for writing is to say that its data were lost. Else the
  /// kernel does not ask at a close.
  let reportsAtClose: Bool
  private let mountPoint: String
  /// The number of the device that the mount shows; nil while it was not looked for.
  private let device = Guarded<String?>(nil, rank: .leaf)

  /// libfuse's own parsed options; set before the session begins.
  nonisolated(unsafe) var connectionOptions: OpaquePointer?
  /// Whether the kernel collects what is written, and passes it on in whole pages: with the option
  /// writeback_cache. Set by the first request.
  nonisolated(unsafe) private(set) var isWrittenByPages = false
  /// Whether the kernel may be given content that it has not asked for (`FirstOpens`). Set by the first
  /// request.
  nonisolated(unsafe) private(set) var kernelTakesContent = false
  /// libfuse's session; set before it begins.
  nonisolated(unsafe) var session: OpaquePointer?

  init(
    mount: ControlledMount, log: Logger, maximumRead: UInt32, checksPermissions: Bool,
    reportsAtClose: Bool
  ) {
    volume = mount.volume
    requests = mount.requests
    resizes = mount.resizes
    mountPoint = mount.mountPoint
    control = ControlServer(mount.operations, readOnlyReason: mount.volume.readOnlyReason)
    self.log = log
    self.maximumRead = maximumRead
    self.checksPermissions = checksPermissions
    self.reportsAtClose = reportsAtClose
    nodes = NodeNumbers(root: volume.rootDirectory)
  }

  /// The first request: what the kernel offers and what we want of it.
  func configure(_ connection: UnsafeMutablePointer<fuse_conn_info>) {
    // Splicing into a pipe only helps where the bytes are not looked at; we checksum them. Of
    // HANDLE_KILLPRIV we have the second version, see `dropPrivileges`. With AUTO_INVAL_DATA the
    // kernel took each new time of a file, those of its own writes too, for news of other content,
    // asked for it before it read from its memory, and forgot what it had: see invariant 1.
    var unwanted = [
      cfuse_cap_splice_read, cfuse_cap_splice_write, cfuse_cap_splice_move,
      cfuse_cap_handle_killpriv, cfuse_cap_writeback_cache,
    ]
    // Before Linux 5.16 some changes of its own left old pages behind, which this made up for.
    let version = (connection.pointee.proto_major, connection.pointee.proto_minor)
    kernelTakesContent = version >= FirstOpens.oldestProtocol
    if version >= (7, 34) { unwanted.append(cfuse_cap_auto_inval_data) }
    // A default ACL goes before the umask, hence DONT_MASK.
    var wanted = [
      cfuse_cap_async_read, cfuse_cap_async_dio, cfuse_cap_parallel_dirops,
      cfuse_cap_export_support, cfuse_cap_readdirplus, cfuse_cap_readdirplus_auto,
      cfuse_cap_cache_symlinks, cfuse_cap_atomic_o_trunc, cfuse_cap_dont_mask,
      cfuse_cap_handle_killpriv_v2,
    ]
    if checksPermissions {
      wanted.append(cfuse_cap_posix_acl)
    } else {
      unwanted.append(cfuse_cap_posix_acl)
    }
    for capability in unwanted { cfuse_set_wanted(connection, capability, 0) }
    for capability in wanted where cfuse_is_capable(connection, capability) != 0 {
      cfuse_set_wanted(connection, capability, 1)
    }

    connection.pointee.max_background = 64
    connection.pointee.congestion_threshold = 48
    connection.pointee.max_read = maximumRead
    if let connectionOptions { fuse_apply_conn_info_opts(connectionOptions, connection) }

    // An option may ask for what is not offered; libfuse would end the session.
    for capability in wanted + unwanted where cfuse_is_capable(connection, capability) == 0 {
      cfuse_set_wanted(connection, capability, 0)
    }
    isWrittenByPages = cfuse_is_wanted(connection, cfuse_cap_writeback_cache) != 0
  }

  /// The number of the device that the mount shows, `0:45`; nil where the table of mounts does not have it.
  /// Looked for when it has just been mounted, for it may be moved.
  @discardableResult
  func mountDevice() -> String? {
    if let known = device.withLock({ $0 }) { return known }
    let found = MountTable.entry(at: mountPoint)?.device
    device.withLock { $0 = found }
    return found
  }

  /// The inode that the kernel means. Throws when the number cannot be from here.
  func inode(_ number: fuse_ino_t) throws(FilesystemError) -> InodeID {
    guard let id = nodes.inode(number) else { throw .stale }
    return id
  }

  /// What the kernel is told of an inode that it gets a reference to.
  func entry(_ attributes: Attributes) -> fuse_entry_param {
    var entry = fuse_entry_param()
    volume.namespace.noteLookup(attributes.id)
    entry.ino = nodes.reference(attributes.id)
    entry.generation = attributes.item.generation.rawValue
    entry.attr = status(attributes)
    entry.attr_timeout = Self.cacheSeconds(of: attributes.id)
    entry.entry_timeout = Self.cacheSeconds
    return entry
  }

  /// How long the kernel may believe the attributes of an inode. A stub's change with those of the
  /// directory around it.
  private static func cacheSeconds(of id: InodeID) -> Double { id.number.isStub ? 0 : cacheSeconds }

  func answer(_ attributes: Attributes) -> FuseAnswer {
    .attributes(status(attributes), seconds: Self.cacheSeconds(of: attributes.id))
  }

  func status(_ attributes: Attributes) -> stat {
    let item = attributes.item
    var status = stat()
    status.st_ino = ino_t(nodes.shown(attributes.id))
    status.st_mode = item.mode
    status.st_nlink = .init(item.linkCount)
    status.st_uid = item.uid
    status.st_gid = item.gid
    status.st_rdev = DeviceNumber.forKernel(item.rdev)
    status.st_size = off_t(clamping: item.size)
    status.st_blksize = 4096
    status.st_blocks = .init(clamping: attributes.blocks)
    status.st_atim = item.atime.asTimespec
    status.st_mtim = item.mtime.asTimespec
    status.st_ctim = item.ctime.asTimespec
    return status
  }

  func kernelStatistics(_ statistics: FilesystemStatistics) -> statvfs {
    var result = statvfs()
    result.f_bsize = .init(statistics.blockSize)
    result.f_frsize = .init(statistics.blockSize)
    result.f_blocks = .init(statistics.blocks)
    result.f_bfree = .init(statistics.freeBlocks)
    result.f_bavail = .init(statistics.availableBlocks)
    // There is no fixed number of inodes, which 0 says.
    result.f_namemax = 255
    return result
  }
}

extension Timestamp {
  fileprivate var asTimespec: timespec { timespec(tv_sec: Int(seconds), tv_nsec: Int(nanoseconds)) }

  init(_ time: timespec) {
    self.init(
      seconds: Int64(time.tv_sec), nanoseconds: UInt32(clamping: min(time.tv_nsec, 999_999_999)))
  }
}

/// A device number: `major << 20 | minor` in the format; to and from the kernel in 32 bits, with
/// the major number's 12 in the middle.
enum DeviceNumber {
  static func forKernel(_ stored: UInt64) -> dev_t {
    let major = stored >> 20 & 0xfff
    let minor = stored & 0xfffff
    return dev_t(minor & 0xff | major << 8 | (minor & ~0xff) << 12)
  }

  static func stored(_ number: dev_t) -> UInt64 {
    let number = UInt64(number)
    let major = number >> 8 & 0xfff
    let minor = number & 0xff | number >> 12 & 0xfff00
    return major << 20 | minor
  }
}
