/// A user that asks for something for which the kernel has checked no permissions.
package struct Caller: Sendable {
  package var credentials: Credentials
  package var supplementaryGroups: [UInt32]
  /// Permissions do not keep it from anything: CAP_DAC_OVERRIDE.
  package var passesPermissions: Bool

  package init(
    _ credentials: Credentials, supplementaryGroups: [UInt32], passesPermissions: Bool
  ) {
    self.credentials = credentials
    self.supplementaryGroups = supplementaryGroups
    self.passesPermissions = passesPermissions
  }

  fileprivate func isMember(of group: UInt32) -> Bool {
    credentials.gid == group || supplementaryGroups.contains(group)
  }
}

/// Permissions, where the kernel leaves them to us: for what is asked by ioctl.
extension AttributeOperations {
  private static let writeAndSearch: UInt32 = 3

  /// Throws `.accessDenied` unless the caller may make names in a directory, and take them away: what the
  /// kernel checks before mkdir(2).
  package func requireNamesMayChange(
    in id: InodeID, by caller: Caller
  ) throws(FilesystemError) {
    let inode = try inodes.inode(id)
    guard inode.isDirectory else { throw .notDirectory }
    if caller.passesPermissions { return }
    let wanted = Self.writeAndSearch
    guard try permissions(of: inode, for: caller) & wanted == wanted else { throw .accessDenied }
  }

  /// What the caller may do, of read (4), write (2) and search (1), by the mode or the access control
  /// list. Where several groups say something this is what one of them alone grants of both writing and
  /// searching.
  private func permissions(
    of inode: Inode, for caller: Caller
  ) throws(FilesystemError) -> UInt32 {
    let item = inode.attributes
    if caller.credentials.uid == item.uid { return item.mode >> 6 & 7 }
    let stored = try ExtendedAttributes.value(of: AccessControlList.accessName, inode)
    guard let stored, case let list = try AccessControlList(stored), !list.entries.isEmpty else {
      return caller.isMember(of: item.gid) ? item.mode >> 3 & 7 : item.mode & 7
    }
    let mask = item.mode >> 3 & 7
    if let user = list.entries.first(where: { $0.tag == .user && $0.id == caller.credentials.uid })
    {
      return user.permissions & mask
    }
    let groups = list.entries.filter { entry in
      entry.tag == .owningGroup && caller.isMember(of: item.gid)
        || entry.tag == .group && caller.isMember(of: entry.id)
    }
    guard !groups.isEmpty else { return item.mode & 7 }
    let granting = groups.first {
      $0.permissions & mask & Self.writeAndSearch == Self.writeAndSearch
    }
    return (granting ?? groups[0]).permissions & (list.isEquivalentToMode ? 7 : mask)
  }
}
