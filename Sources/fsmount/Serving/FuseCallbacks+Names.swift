import CFuse
import FSCore
import Glibc

extension FuseCallbacks {
  static func addNames(_ operations: inout fuse_lowlevel_ops) {
    operations.lookup = { request, parent, name in
      FuseServer.answer(request, .lookup) { server throws(FilesystemError) in
        try server.lookup(FuseCallbacks.name(name), in: server.inode(parent), parent)
      }
    }

    operations.mknod = { request, parent, name, mode, device in
      FuseServer.answer(request, .mknod) { server throws(FilesystemError) in
        .entry(
          server.entry(
            try server.volume.namespace.createNode(
              FuseCallbacks.name(name), in: server.inode(parent), mode: mode,
              rdev: DeviceNumber.stored(device), FuseCallbacks.credentials(request))))
      }
    }

    operations.create = { request, parent, name, mode, file in
      FuseServer.answer(request, .create) { server throws(FilesystemError) in
        let attributes = try server.volume.namespace.createNode(
          FuseCallbacks.name(name), in: server.inode(parent), mode: mode & ~S_IFMT | S_IFREG,
          FuseCallbacks.credentials(request))
        try server.volume.namespace.open(attributes.id)
        let entry = server.entry(attributes)
        server.firstOpens.during(attributes.id, of: server.volume.namespace) {}
        return .created(entry, server.opened(attributes.id, file))
      }
    }

    operations.mkdir = { request, parent, name, mode in
      FuseServer.answer(request, .mkdir) { server throws(FilesystemError) in
        .entry(
          server.entry(
            try server.volume.namespace.makeDirectory(
              FuseCallbacks.name(name), in: server.inode(parent), mode: mode,
              FuseCallbacks.credentials(request))))
      }
    }

    operations.symlink = { request, target, parent, name in
      FuseServer.answer(request, .symlink) { server throws(FilesystemError) in
        .entry(
          server.entry(
            try server.volume.namespace.makeSymbolicLink(
              FuseCallbacks.name(name), in: server.inode(parent),
              target: FuseCallbacks.name(target), FuseCallbacks.credentials(request))))
      }
    }

    addLinks(&operations)
  }

  private static func addLinks(_ operations: inout fuse_lowlevel_ops) {
    operations.link = { request, number, parent, name in
      FuseServer.answer(request, .link) { server throws(FilesystemError) in
        .entry(
          server.entry(
            try server.volume.namespace.link(
              server.inode(number), FuseCallbacks.name(name), in: server.inode(parent))))
      }
    }

    operations.unlink = { request, parent, name in
      FuseServer.answer(request, .unlink) { server throws(FilesystemError) in
        try server.volume.namespace.unlink(FuseCallbacks.name(name), in: server.inode(parent))
        return .done
      }
    }

    operations.rmdir = { request, parent, name in
      FuseServer.answer(request, .rmdir) { server throws(FilesystemError) in
        try server.volume.namespace.removeDirectory(
          FuseCallbacks.name(name), in: server.inode(parent))
        return .done
      }
    }

    operations.rename = { request, parent, name, newParent, newName, flags in
      FuseServer.answer(request, .rename) { server throws(FilesystemError) in
        try server.volume.namespace.rename(
          FuseCallbacks.name(name), in: server.inode(parent), to: FuseCallbacks.name(newName),
          in: server.inode(newParent), flags: RenameFlags(rawValue: flags),
          FuseCallbacks.credentials(request))
        return .done
      }
    }
  }
}

extension FuseServer {
  /// Also for "." and "..", which the kernel looks up when a file handle of NFS or of
  /// open_by_handle_at(2) names an inode that it no longer has in memory.
  fileprivate func lookup(
    _ name: [UInt8], in directory: InodeID, _ number: fuse_ino_t
  ) throws(FilesystemError) -> FuseAnswer {
    do throws(FilesystemError) {
      // "." is asked for of what is no directory, too.
      if name == [UInt8(ascii: ".")] {
        return .entry(entry(try volume.attributes.attributes(of: directory)))
      }
      let attributes = try volume.namespace.lookup(name, in: directory)
      directoryReaders.noteLookup(
        in: number, isDirectory: attributes.item.mode & S_IFMT == S_IFDIR)
      return .entry(entry(attributes))
    } catch .notFound {
      // Number 0 lets the kernel remember that the name is free.
      var nothing = fuse_entry_param()
      nothing.entry_timeout = Self.cacheSeconds
      return .entry(nothing)
    } catch {
      throw error
    }
  }
}
