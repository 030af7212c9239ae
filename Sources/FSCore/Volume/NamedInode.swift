/// A name in a directory, and what it leads to.
struct NamedInode {
  let name: [UInt8]
  let directory: Inode
  let location: DirectoryEntries.Location
  let inode: Inode

  /// Whether this is where a subvolume stands.
  var isSubvolume: Bool { location.isSubvolume && !inode.isStub }
}
