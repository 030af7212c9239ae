/// The user and the group that ask for something new.
package struct Credentials: Sendable {
  package var uid: UInt32
  package var gid: UInt32

  /// Permissions that a new inode does not get, unless its directory has a default ACL. 0 when
  /// the kernel has taken them off already.
  package var umask: UInt32

  package init(uid: UInt32, gid: UInt32, umask: UInt32 = 0) {
    self.uid = uid
    self.gid = gid
    self.umask = umask
  }
}
