import CFuse
import FSCore
import Glibc

/// Set-user-ID and set-group-ID bits. The kernel leaves it to us to take them off, for else it
/// asked before each write whether a file has such rights. It does see to file capabilities.
extension FuseServer {
  /// What says whether the caller has CAP_FSETID, the right to keep and to set such bits.
  enum Right {
    /// The request has a flag for it.
    case inRequest(isMissing: Bool)
    case unknown
  }

  /// Of a write or an open that this thread is serving.
  static var rightInRequest: Right {
    .inRequest(isMissing: cfuse_request_drops_privileges())
  }

  /// Called before the caller changes the content of a file.
  func dropPrivileges(
    of number: fuse_ino_t, for request: fuse_req_t?, _ right: Right
  ) throws(FilesystemError) {
    if case .inRequest(false) = right { return }
    let id = try inode(number)
    guard try volume.attributes.hasPrivileges(id) else { return }
    if case .unknown = right, Self.has(.setID, request) { return }
    try dropPrivileges(of: id, number, isOutsider: isOutsider(request, of: id, right))
  }

  func dropPrivileges(
    of id: InodeID, _ number: fuse_ino_t, isOutsider: Bool
  ) throws(FilesystemError) {
    guard try volume.attributes.dropPrivileges(of: id, isOutsider: isOutsider) else { return }
    // Running a program goes by the mode that the kernel remembers.
    fuse_lowlevel_notify_inval_inode(session, number, -1, 0)
  }

  /// Whether the caller may change the attributes of an inode: its owner, and root.
  func isOwner(_ request: fuse_req_t?, of id: InodeID) throws(FilesystemError) -> Bool {
    let uid = FuseCallbacks.credentials(request).uid
    if uid == 0 { return true }
    let owner = try volume.attributes.attributes(of: id).item.uid
    return uid == owner
  }

  /// Whether an inode has a set-group-ID bit that the caller could not give it: the caller is of
  /// another group, and has no right to set any.
  func isOutsider(
    _ request: fuse_req_t?, of id: InodeID, _ right: Right
  ) throws(FilesystemError) -> Bool {
    let item = try volume.attributes.attributes(of: id).item
    guard item.mode & S_ISGID != 0 else { return false }
    switch right {
    case .inRequest(let isMissing): if !isMissing { return false }
    case .unknown: if Self.has(.setID, request) { return false }
    }
    return FuseCallbacks.credentials(request).gid != item.gid
      && !Self.otherGroups(request).contains(item.gid)
  }

  /// Whether the caller may control the mount as a whole: the user who mounted it, and root. The
  /// kernel tells users as the user namespace of the mount knows them, so that its root is meant.
  func mayControl(_ request: fuse_req_t?) -> Bool {
    FuseCallbacks.credentials(request).uid == getuid() || Self.has(.administration, request)
  }

  /// Rights of a process, by their numbers in Linux.
  enum Capability: UInt64 {
    /// CAP_DAC_OVERRIDE
    case passPermissions = 1
    /// CAP_FSETID
    case setID = 4
    /// CAP_LINUX_IMMUTABLE
    case linuxImmutable = 9
    /// CAP_SYS_ADMIN
    case administration = 21
  }

  /// Whether a process has a right. Others than root have it at most within a user namespace of
  /// their own, where it does not count here.
  static func has(_ capability: Capability, _ request: fuse_req_t?) -> Bool {
    guard let request, let context = fuse_req_ctx(request), context.pointee.uid == 0 else {
      return false
    }
    let status = MountTable.readAll("/proc/\(context.pointee.pid)/status")
    let line = status.split(separator: "\n").first { $0.hasPrefix("CapEff:") }
    let digits = line?.split(separator: "\t").last.flatMap { UInt64($0, radix: 16) }
    // A process that we cannot see, of another container, is root all the same.
    return (digits ?? .max) >> capability.rawValue & 1 != 0
  }

  /// The supplementary groups of the caller; none when it has ended meanwhile.
  static func otherGroups(_ request: fuse_req_t?) -> [gid_t] {
    // The most that Linux has.
    var groups = [gid_t](repeating: 0, count: 65536)
    let count = fuse_req_getgroups(request, Int32(groups.count), &groups)
    return Array(groups.prefix(max(0, Int(count))))
  }
}
