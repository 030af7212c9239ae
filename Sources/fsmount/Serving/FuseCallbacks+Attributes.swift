import CFuse
import FSCore
import Glibc

extension FuseCallbacks {
  static func addAttributes(_ operations: inout fuse_lowlevel_ops) {
    operations.getattr = { request, number, _ in
      FuseServer.answer(request, .getattr) { server throws(FilesystemError) in
        let attributes = try server.volume.attributes.attributes(of: server.inode(number))
        let birth = attributes.item.otime
        // On Linux a stub has none.
        let isStub = attributes.id.number.isStub
        cfuse_note_birth(birth.seconds, isStub ? .max : birth.nanoseconds)
        return server.answer(attributes)
      }
    }

    operations.setattr = { request, number, wanted, fields, file in
      let body = { (server: FuseServer) throws(FilesystemError) -> FuseAnswer in
        guard let wanted else { throw .invalidArgument("no attributes") }
        var changes = FuseCallbacks.changes(wanted.pointee, fields)
        changes.touchesWhenSizeIsSame = file != nil
        let id = try server.inode(number)
        // Of a truncation this bit says that it comes from a caller without CAP_FSETID. No field
        // at all has a chown(2) that names neither owner nor group, which is the owner's right. So
        // has a write to a file with capabilities: the owner's and root's loses the bits here
        // even where Linux would keep them, anybody else's does by itself.
        let drops = changes.size != nil && fields & FUSE_SET_ATTR_KILL_SUID != 0
        changes.isByOutsider = try server.isOutsider(
          request, of: id, changes.size != nil ? .inRequest(isMissing: drops) : .unknown)
        let isOwnersAsking = fields == 0 ? try server.isOwner(request, of: id) : false
        if drops || isOwnersAsking {
          try server.dropPrivileges(of: id, number, isOutsider: changes.isByOutsider)
        }
        let attributes = try server.volume.attributes.setAttributes(id, changes)
        return server.answer(attributes)
      }
      if fields & FUSE_SET_ATTR_SIZE == 0 {
        FuseServer.answer(request, .setattr, body)
      } else {
        FuseServer.answerChange(of: number, request, .setattr, body)
      }
    }

    operations.readlink = { request, number in
      FuseServer.answer(request, .readlink) { server throws(FilesystemError) in
        .target(try server.volume.namespace.readSymbolicLink(server.inode(number)))
      }
    }
  }

  private static func changes(_ wanted: stat, _ fields: Int32) -> AttributeChanges {
    var changes = AttributeChanges()
    if fields & FUSE_SET_ATTR_MODE != 0 { changes.mode = wanted.st_mode }
    if fields & FUSE_SET_ATTR_UID != 0 { changes.uid = wanted.st_uid }
    if fields & FUSE_SET_ATTR_GID != 0 { changes.gid = wanted.st_gid }
    if fields & FUSE_SET_ATTR_SIZE != 0 { changes.size = UInt64(clamping: wanted.st_size) }

    if fields & FUSE_SET_ATTR_ATIME_NOW != 0 {
      changes.atime = .now
    } else if fields & FUSE_SET_ATTR_ATIME != 0 {
      changes.atime = .set(Timestamp(wanted.st_atim))
    }
    if fields & FUSE_SET_ATTR_MTIME_NOW != 0 {
      changes.mtime = .now
    } else if fields & FUSE_SET_ATTR_MTIME != 0 {
      changes.mtime = .set(Timestamp(wanted.st_mtim))
    }
    // Only with the kernel's writeback cache, which then keeps these times.
    if fields & FUSE_SET_ATTR_CTIME != 0 { changes.ctime = Timestamp(wanted.st_ctim) }
    return changes
  }
}
