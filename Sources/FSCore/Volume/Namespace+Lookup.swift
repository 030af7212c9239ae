import Glibc

extension Namespace {
  /// Throws unless `name` can be looked up.
  func requireName(_ name: [UInt8]) throws(FilesystemError) {
    guard name.count <= Format.maximumNameLength else { throw .nameTooLong }
    guard !name.isEmpty else { throw .notFound }
    let isAllowed = name.withUnsafeBytes {
      memchr($0.baseAddress!, 0, $0.count) == nil
        && memchr($0.baseAddress!, Int32(UInt8(ascii: "/")), $0.count) == nil
    }
    guard isAllowed else {
      throw .invalidArgument("a name with a slash or a zero byte")
    }
  }

  /// Throws unless `name` can be given to something new.
  func requireNewName(_ name: [UInt8]) throws(FilesystemError) {
    try requireName(name)
    if Self.isDots(name) { throw .exists }
  }

  /// "." or "..", which no directory stores.
  static func isDots(_ name: [UInt8]) -> Bool {
    (name.count == 1 || name.count == 2) && name.allSatisfy { $0 == UInt8(ascii: ".") }
  }

  // Looking up.

  package func lookup(
    _ name: [UInt8], in directory: InodeID
  ) throws(FilesystemError) -> Attributes {
    try requireName(name)
    let directory = try inodes.inode(directory)
    guard directory.isDirectory else { throw .notDirectory }
    if Self.isDots(name) {
      return try attributes.attributes(of: name.count == 1 ? directory.id : parent(of: directory))
    }

    if directory.isDeletedRoot { throw .notFound }
    for _ in 0..<Self.attempts {
      guard let location = try DirectoryEntries.find(name, in: directory) else { break }
      if let inode = try inode(at: location, name, in: directory) {
        return attributes.attributes(of: inode)
      }
      // Deleted between the two looks, or an entry that leads nowhere.
      if try DirectoryEntries.find(name, in: directory) == location { break }
    }
    throw .notFound
  }

  /// Where an entry leads. For a subvolume: to its root directory if this is its place, else (in
  /// a snapshot of its place) to a stub.
  func id(
    at location: DirectoryEntries.Location, _ name: [UInt8], in directory: Inode
  ) throws(FilesystemError) -> InodeID {
    guard location.isSubvolume else {
      guard location.key.type == .inodeItem, !location.key.objectID.isStub else {
        throw .corrupt("an entry of directory \(directory.id) leads to \(location.key)")
      }
      return InodeID(tree: directory.id.tree, number: location.key.objectID)
    }

    let child = TreeID(rawValue: location.key.objectID.rawValue)
    let reference = try RootReferences.find(
      parent: directory.id.tree, child: child, in: trees.root)
    if let reference, reference.directory == directory.number, reference.name == name,
      try subvolumeIfAny(child) != nil
    {
      return InodeID(tree: child, number: .firstFree)
    }
    return try inodes.stubs.id(of: name, in: directory.id)
  }

  private func subvolumeIfAny(_ id: TreeID) throws(FilesystemError) -> Subvolume? {
    do throws(FilesystemError) {
      return try inodes.subvolume(id)
    } catch .notFound {
      return nil
    } catch {
      throw error
    }
  }

  /// The inode that an entry leads to; nil when it does not exist.
  func inode(
    at location: DirectoryEntries.Location, _ name: [UInt8], in directory: Inode
  ) throws(FilesystemError) -> Inode? {
    let id = try id(at: location, name, in: directory)
    do throws(FilesystemError) {
      return try inodes.inode(id)
    } catch .stale {
      return nil
    } catch {
      throw error
    }
  }

  /// The directory that `directory` stands in. What is mounted, and the top of all, stand in
  /// themselves.
  func parent(of directory: Inode) throws(FilesystemError) -> InodeID {
    if directory.id == rootDirectory { return directory.id }
    if let around = directory.around { return around.id }
    if directory.number == .firstFree {
      return try RootReferences.parent(of: directory.id.tree, in: trees.root) ?? directory.id
    }
    guard let parent = try InodeReferences.parent(of: directory) else { throw .notFound }
    return InodeID(tree: directory.id.tree, number: parent)
  }
}
