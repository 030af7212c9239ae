import CFuse
import FSCore
import Glibc

/// btrfs's ioctls about subvolumes. Who may is as with Linux, but that the user who mounted the image
/// stands where Linux asks for CAP_SYS_ADMIN.
extension FuseServer {
  /// Nil for an ioctl that is none of these.
  func subvolumeControl(
    _ request: fuse_req_t?, _ number: fuse_ino_t, _ command: UInt,
    _ input: UnsafeRawBufferPointer, _ changes: UnaskedChanges
  ) throws(FilesystemError) -> FuseAnswer? {
    let id = try inode(number)
    switch command {
    case BtrfsIoctl.subvolumeCreate:
      try create(VolumeArguments(input).name, in: id, request, changes)
    case BtrfsIoctl.subvolumeCreate2:
      let arguments = try VolumeArguments2(input, known: BtrfsIoctl.readOnly)
      try create(arguments.name(), in: id, request, changes)
    case BtrfsIoctl.snapshotCreate:
      let arguments = try VolumeArguments(input)
      try snapshot(arguments.descriptor, arguments.name, false, in: id, request, changes)
    case BtrfsIoctl.snapshotCreate2:
      let arguments = try VolumeArguments2(input, known: BtrfsIoctl.readOnly)
      try snapshot(
        arguments.descriptor, arguments.name(), arguments.flags & BtrfsIoctl.readOnly != 0, in: id,
        request, changes)
    case BtrfsIoctl.subvolumeDestroy:
      try destroy(VolumeArguments(input).name, in: id, request, changes)
    case BtrfsIoctl.subvolumeDestroy2:
      let arguments = try VolumeArguments2(input, known: BtrfsIoctl.byNumber)
      guard arguments.flags & BtrfsIoctl.byNumber != 0 else {
        try destroy(arguments.name(), in: id, request, changes)
        break
      }
      try destroy(arguments.number(), request)
    case BtrfsIoctl.setFlags: try setSubvolumeFlags(input.number(at: 0), of: id, request)
    case BtrfsIoctl.setDefault:
      guard mayControl(request) else { throw .notPermitted }
      let wanted = TreeID(try input.number(at: 0))
      try volume.subvolumes.setDefault(wanted.rawValue == 0 ? .topLevel : wanted)
    case BtrfsIoctl.waitSync:
      // What has begun is durable; a number from the future is waited for in vain.
      if try input.number(at: 0) != volume.commitCount { try volume.synchronizeAll() }
    default: return try subvolumeQuestion(id, command, input, request)
    }
    return .control([])
  }

  /// Those that change nothing.
  private func subvolumeQuestion(
    _ id: InodeID, _ command: UInt, _ input: UnsafeRawBufferPointer, _ request: fuse_req_t?
  ) throws(FilesystemError) -> FuseAnswer? {
    switch command {
    case BtrfsIoctl.getFlags:
      guard id.number == .firstFree else { throw .invalidArgument("this is not a subvolume") }
      var result = IoctlResult(size: 8)
      let isReadOnly = try volume.subvolumes.isReadOnly(id.tree)
      result.put(isReadOnly ? BtrfsIoctl.readOnly : 0, at: 0)
      return .control(result.bytes)
    case BtrfsIoctl.startSync:
      try volume.synchronizeAll()
      var result = IoctlResult(size: 8)
      result.put(volume.commitCount, at: 0)
      return .control(result.bytes)
    case BtrfsIoctl.subvolumeInfo:
      guard let record = try volume.subvolumes.record(of: id.tree) else { throw .notFound }
      return .control(SubvolumeInfo.encode(record))
    case BtrfsIoctl.subvolumeReferences: return try references(from: input.number(at: 0), of: id)
    case BtrfsIoctl.inodeLookup: return try lookup(input, id, request)
    case BtrfsIoctl.filesystemInfo: return .control(filesystemInfo())
    default: return nil
    }
  }

  private func caller(_ request: fuse_req_t?) -> Caller {
    Caller(
      FuseCallbacks.credentials(request), supplementaryGroups: Self.otherGroups(request),
      // Without default_permissions everybody may do everything that gets here.
      passesPermissions: !checksPermissions || Self.has(.passPermissions, request))
  }

  private func create(
    _ name: [UInt8], in id: InodeID, _ request: fuse_req_t?, _ changes: UnaskedChanges
  ) throws(FilesystemError) {
    let caller = caller(request)
    try volume.attributes.requireNamesMayChange(in: id, by: caller)
    var credentials = caller.credentials
    credentials.umask = Self.umask(of: request)
    _ = try volume.subvolumes.create(name, in: id, credentials)
    changes.note(name)
  }

  private func snapshot(
    _ descriptor: Int64, _ name: [UInt8], _ isReadOnly: Bool, in id: InodeID,
    _ request: fuse_req_t?, _ changes: UnaskedChanges
  ) throws(FilesystemError) {
    try volume.attributes.requireNamesMayChange(in: id, by: caller(request))
    let source = try inode(ofCallersDescriptor: descriptor, request)
    guard try isOwner(request, of: source) else { throw .notPermitted }
    guard source.number == .firstFree else { throw .invalidArgument("this is not a subvolume") }
    // The name may be there even when the commit has failed.
    changes.note(name)
    _ = try volume.subvolumes.snapshot(of: source, name, in: id, isReadOnly: isReadOnly)
  }

  /// The inode in this mount for which the calling process has a descriptor open.
  private func inode(
    ofCallersDescriptor descriptor: Int64, _ request: fuse_req_t?
  ) throws(FilesystemError) -> InodeID {
    let process = request.flatMap { fuse_req_ctx($0)?.pointee.pid } ?? 0
    guard let open = CallerDescriptor(process: process, descriptor: descriptor) else {
      if CallerDescriptor.isMissing(process: process, descriptor: descriptor) {
        throw .invalidArgument("the descriptor is not open")
      }
      throw .unsupported("which directory the descriptor is of cannot be found out in /proc")
    }
    guard let device = mountDevice(), device == open.device else { throw .crossSubvolume }
    guard let id = nodes.inode(open.inode), nodes.shown(id) == open.inode else {
      throw .unsupported("the number of the directory is too large to be found out")
    }
    return id
  }

  private func destroy(
    _ name: [UInt8], in id: InodeID, _ request: fuse_req_t?, _ changes: UnaskedChanges
  ) throws(FilesystemError) {
    guard mayControl(request) else { throw .notPermitted }
    try volume.subvolumes.delete(name, in: id)
    changes.note(name)
  }

  private func destroy(_ number: UInt64, _ request: fuse_req_t?) throws(FilesystemError) {
    guard mayControl(request) else { throw .notPermitted }
    guard number >= ObjectID.firstFree.rawValue else { throw .invalidArgument("no subvolume") }
    let (directory, name) = try volume.subvolumes.delete(TreeID(number))
    let known = directory == nodes.root ? 1 : nodes.shown(directory)
    if nodes.inode(known) == directory { notices.add([name], in: known) }
  }

  private func setSubvolumeFlags(
    _ flags: UInt64, of id: InodeID, _ request: fuse_req_t?
  ) throws(FilesystemError) {
    guard try isOwner(request, of: id) else { throw .notPermitted }
    guard flags & ~BtrfsIoctl.readOnly == 0 else { throw .unsupported("no such flag") }
    try volume.subvolumes.setReadOnly(flags != 0, of: id)
  }

  /// btrfs_ioctl_get_subvol_rootref_args: 255 subvolumes at most, and from which number on to ask again.
  private func references(
    from first: UInt64, of id: InodeID
  ) throws(FilesystemError) -> FuseAnswer {
    let found = try volume.subvolumes.children(
      of: id.tree, from: TreeID(first), atMost: SubvolumeReferences.most + 1)
    let bytes = SubvolumeReferences.encode(found, from: first)
    return .control(
      bytes, status: found.count > SubvolumeReferences.most ? -EOVERFLOW : 0)
  }

  /// btrfs_ioctl_ino_lookup_args: a subvolume, or 0 for that of the file that is asked; an inode; and
  /// the path from the subvolume's root, with a slash at its end.
  private func lookup(
    _ input: UnsafeRawBufferPointer, _ id: InodeID, _ request: fuse_req_t?
  ) throws(FilesystemError) -> FuseAnswer {
    let wanted = TreeID(try input.number(at: 0))
    let number = ObjectID(try input.number(at: 8))
    let tree = wanted.rawValue == 0 ? id.tree : wanted
    var result = IoctlResult(size: BtrfsIoctl.argumentsSize)
    result.put(tree.rawValue, at: 0)
    result.put(number.rawValue, at: 8)
    // In which subvolume a file is, everybody may ask.
    if number != .firstFree || tree != id.tree {
      guard mayControl(request) else { throw .notPermitted }
      let path = try volume.subvolumes.path(of: number, in: tree)
      guard path.count < 4078 else { throw .nameTooLong }
      if !path.isEmpty { result.put(path + [UInt8(ascii: "/")], at: 16) }
    }
    return .control(result.bytes)
  }

  /// btrfs_ioctl_fs_info_args, without what has to be asked for: what is asked is not passed on.
  private func filesystemInfo() -> [UInt8] {
    let devices = volume.device.devices.members.map { $0.id.rawValue }
    var result = IoctlResult(size: 1024)
    result.put(devices.max() ?? 0, at: 0)
    result.put(UInt64(devices.count), at: 8)
    result.put(volume.geometry.fsid, at: 16)
    result.put(UInt32(volume.geometry.nodeSize), at: 32)
    result.put(UInt32(volume.geometry.sectorSize), at: 36)
    result.put(UInt32(volume.geometry.sectorSize), at: 40)
    return result.bytes
  }

  /// What the kernel does not pass on with an ioctl.
  private static func umask(of request: fuse_req_t?) -> UInt32 {
    guard let request, let context = fuse_req_ctx(request) else { return 0o022 }
    let status = MountTable.readAll("/proc/\(context.pointee.pid)/status")
    let mask = CallerDescriptor.fields(status)["Umask"].flatMap { UInt32($0, radix: 8) }
    return (mask ?? 0o022) & 0o777
  }
}
