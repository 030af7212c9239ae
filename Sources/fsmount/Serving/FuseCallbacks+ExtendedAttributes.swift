import CFuse
import FSCore
import Glibc

extension FuseCallbacks {
  static func addExtendedAttributes(_ operations: inout fuse_lowlevel_ops) {
    operations.getxattr = { request, number, name, size in
      FuseServer.answer(request, .getxattr) { server throws(FilesystemError) in
        let value = try server.volume.attributes.getAttribute(
          server.inode(number), FuseCallbacks.name(name))
        return try FuseCallbacks.sized(value, size)
      }
    }

    operations.listxattr = { request, number, size in
      FuseServer.answer(request, .listxattr) { server throws(FilesystemError) in
        let mayAdminister = FuseCallbacks.credentials(request).uid == 0
        var list: [UInt8] = []
        for name in try server.volume.attributes.listAttributes(server.inode(number)) {
          if !mayAdminister, name.starts(with: "trusted.".utf8) { continue }
          list += name
          list.append(0)
        }
        return try FuseCallbacks.sized(list, size)
      }
    }

    operations.setxattr = { request, number, name, value, size, flags in
      FuseServer.answer(request, .setxattr) { server throws(FilesystemError) in
        let id = try server.inode(number)
        let name = FuseCallbacks.name(name)
        // Of the list that stands for the mode.
        let isAccess = name == Array("system.posix_acl_access".utf8)
        let isByOutsider = isAccess ? try server.isOutsider(request, of: id, .unknown) : false
        // XATTR_CREATE is 1, XATTR_REPLACE 2.
        try server.volume.attributes.setAttribute(
          id, name, [UInt8](UnsafeRawBufferPointer(start: value, count: size)),
          flags & 1 != 0 ? .create : flags & 2 != 0 ? .replace : .any,
          isByOutsider: isByOutsider)
        return .done
      }
    }

    operations.removexattr = { request, number, name in
      FuseServer.answer(request, .removexattr) { server throws(FilesystemError) in
        try server.volume.attributes.removeAttribute(server.inode(number), FuseCallbacks.name(name))
        return .done
      }
    }
  }

  /// A request with size 0 asks how many bytes there are.
  private static func sized(
    _ bytes: [UInt8], _ size: Int
  ) throws(FilesystemError) -> FuseAnswer {
    if size == 0 { return .size(bytes.count) }
    guard bytes.count <= size else { throw .bufferTooSmall }
    return .bytes(bytes)
  }
}
