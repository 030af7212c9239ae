import CFuse
import FSCore
import Glibc

/// libfuse's table of callbacks. Each answers its request exactly once, through `FuseReply`.
///
/// They are formed in ordinary functions, without captures: libfuse calls them on threads that
/// Swift's main actor knows nothing of.
///
/// Left out are `access`, whose absence the kernel remembers and which has nothing to do here; and
/// locks, which the kernel then keeps.
enum FuseCallbacks {
  static func all() -> fuse_lowlevel_ops {
    var operations = fuse_lowlevel_ops()
    addLifetime(&operations)
    addAttributes(&operations)
    addNames(&operations)
    addFiles(&operations)
    addDirectories(&operations)
    addExtendedAttributes(&operations)
    return operations
  }

  private static func addLifetime(_ operations: inout fuse_lowlevel_ops) {
    operations.`init` = { userData, connection in
      guard let userData, let connection else { return }
      Unmanaged<FuseServer>.fromOpaque(userData).takeUnretainedValue().configure(connection)
    }

    operations.forget = { request, number, lookups in
      let item = fuse_forget_data(ino: number, nlookup: lookups)
      FuseCallbacks.forget(request, CollectionOfOne(item))
      fuse_reply_none(request)
    }

    operations.forget_multi = { request, count, list in
      FuseCallbacks.forget(request, UnsafeBufferPointer(start: list, count: count))
      fuse_reply_none(request)
    }

    operations.statfs = { request, _ in
      FuseServer.answer(request, .statfs) { server throws(FilesystemError) in
        .statistics(server.kernelStatistics(try server.volume.statistics()))
      }
    }

    operations.ioctl = { request, number, command, _, file, _, input, inputSize, _ in
      guard let request else { return }
      let server = FuseCallbacks.server(of: request)
      let changes = UnaskedChanges()
      let isOpenForWriting = FuseCallbacks.isOpenForWriting(file)
      let answer = FuseServer.outcome(of: request, .ioctl) { server throws(FilesystemError) in
        let input = UnsafeRawBufferPointer(start: input, count: inputSize)
        return try server.control(
          request, number, UInt(command), input, changes, isOpenForWriting: isOpenForWriting)
      }
      // The program that asked is to see the change at once.
      if case .control(_, status: 0) = answer, FuseServer.mayAnswerLater(changes) {
        let late = LateAnswer(request, answer)
        if changes.hasContent { return server.notices.add(contentOf: number, before: late) }
        return server.notices.add(changes.names, in: number, before: late)
      }
      FuseReply(request).send(answer)
      if changes.hasContent { server.notices.add(contentOf: number) }
      server.notices.add(changes.names, in: number)
    }
  }

  private static func forget(_ request: fuse_req_t?, _ list: some Sequence<fuse_forget_data>) {
    guard let request else { return }
    let server = server(of: request)
    server.requests.note(.forget)
    for item in list {
      guard let id = server.nodes.inode(item.ino) else { continue }
      server.nodes.forget(item.ino, lookups: item.nlookup)
      server.volume.namespace.forget(id, lookups: item.nlookup)
    }
  }

  static func server(of request: fuse_req_t) -> FuseServer {
    Unmanaged<FuseServer>.fromOpaque(fuse_req_userdata(request)).takeUnretainedValue()
  }

  /// The bytes of a C string.
  static func name(_ text: UnsafePointer<CChar>?) -> [UInt8] {
    guard let text else { return [] }
    return [UInt8](UnsafeRawBufferPointer(start: text, count: strlen(text)))
  }

  /// The user and the group that the caller acts as. The umask is 0 where the request has none, as
  /// an ioctl.
  static func credentials(_ request: fuse_req_t?) -> Credentials {
    guard let request, let context = fuse_req_ctx(request) else {
      return Credentials(uid: 65534, gid: 65534)
    }
    return Credentials(
      uid: context.pointee.uid, gid: context.pointee.gid, umask: context.pointee.umask)
  }
}

extension FuseServer {
  fileprivate func control(
    _ request: fuse_req_t?, _ number: fuse_ino_t, _ command: UInt,
    _ input: UnsafeRawBufferPointer, _ changes: UnaskedChanges, isOpenForWriting: Bool
  ) throws(FilesystemError) -> FuseAnswer {
    switch command {
    case ControlCommand.synchronize:
      // Before it asks, 'fsmount sync' has the kernel send what it has of mapped files.
      writes.waitForGap(milliseconds: 20)
      try volume.synchronizeAll()
      return .control([])
    case ControlCommand.watchUnmount:
      return watchers.add(input) ? .control([]) : .failure(EAGAIN)
    case ControlCommand.getFlags:
      let flags = try volume.attributes.flags(of: inode(number))
      return .control(withUnsafeBytes(of: flags.rawValue) { [UInt8]($0) })
    case ControlCommand.getCommonFlags:
      return .control(CommonFlags.encode(try volume.attributes.flags(of: inode(number))))
    case ControlCommand.setFlags:
      guard input.count >= MemoryLayout<UInt32>.size else {
        throw .invalidArgument("too few bytes for flags")
      }
      let flags = FileFlags(rawValue: input.loadUnaligned(as: UInt32.self))
      return try setFlags(of: number, for: request, flags, among: .all)
    case ControlCommand.setCommonFlags:
      let flags = try CommonFlags.decode(input)
      return try setFlags(of: number, for: request, flags, among: .common)
    case ControlCommand.trim:
      guard input.count >= 24 else { throw .invalidArgument("too few bytes for FITRIM") }
      guard mayControl(request) else { throw .notPermitted }
      let start = input.loadUnaligned(as: UInt64.self)
      let length = input.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
      let minimum = input.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
      let trimmed = try volume.trim(from: start, length: length, minimum: minimum)
      let answer = [start, trimmed, volume.shortestTrimmed(minimum: minimum)]
      return .control(answer.flatMap { withUnsafeBytes(of: $0) { [UInt8]($0) } })
    case ControlCommand.exchange:
      let context = ControlContext(
        inode: try inode(number), isOpenForWriting: isOpenForWriting,
        keepsSizes: isWrittenByPages, credentials: FuseCallbacks.credentials(request),
        changes: changes)
      return .control(control.answer(input, isAllowed: mayControl(request), context))
    case ControlCommand.shutDown:
      guard Self.has(.administration, request) else { throw .notPermitted }
      try volume.shutDown()
      return .control([])
    default:
      return try subvolumeControl(request, number, command, input, changes) ?? .failure(ENOTTY)
    }
  }

  private func setFlags(
    of number: fuse_ino_t, for request: fuse_req_t?, _ flags: FileFlags, among scope: FileFlags
  ) throws(FilesystemError) -> FuseAnswer {
    let id = try inode(number)
    guard try isOwner(request, of: id) else { throw .notPermitted }
    try volume.attributes.setFlags(
      id, flags, among: scope, mayProtect: Self.has(.linuxImmutable, request))
    // The kernel does not know that this changes the file.
    fuse_lowlevel_notify_inval_inode(session, number, -1, 0)
    return .control([])
  }
}
