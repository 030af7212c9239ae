import FSCore

/// Which file was opened: for naming it in another request.
struct FileIdentityCall: ControlCall {
  static let command = "file_identity"

  struct Answer: Codable, Sendable, Equatable {
    /// The number of the subvolume.
    var subvolume: UInt64
    /// The number of the inode in it.
    var inode: UInt64
  }
}

/// Shares a range of a file with the file that is asked, which has to be open for writing.
struct ReflinkCall: ControlCall {
  static let command = "reflink"

  struct Answer: Codable, Sendable {
    /// How much of the range is shared now.
    var bytes: UInt64
    /// Whether that is all. If not, the rest is asked for in the same way.
    var isComplete: Bool
  }

  var source: FileIdentityCall.Answer
  var sourceOffset: UInt64?
  var offset: UInt64?
  /// Missing: up to the end of the source, as it is now.
  var length: UInt64?
  /// The size of the source when the first part was asked for.
  var sourceSize: UInt64?
  /// Says only whether it would be refused.
  var isCheck: Bool?
  /// Of a check: the file that is asked would be made empty before.
  var replaces: Bool?
}

extension ControlledMount {
  var reflinkOperations: [ControlOperation] {
    [
      ControlOperation(FileIdentityCall.self, "which file was opened") { (_, context) in
        FileIdentityCall.Answer(
          subvolume: context.inode.tree.rawValue, inode: context.inode.number.rawValue)
      },
      ControlOperation(ReflinkCall.self, "shares the content of files", needsWriting: true) {
        (call, context) throws(ControlFailure) in
        guard context.isOpenForWriting else {
          throw ControlFailure("the destination was not opened for writing", "EBADF")
        }
        let source = InodeID(
          tree: TreeID(call.source.subvolume), number: ObjectID(call.source.inode))
        let (from, to) = (call.sourceOffset ?? 0, call.offset ?? 0)
        let isCheck = call.isCheck ?? false
        try ControlFailure.telling { () throws(FilesystemError) in
          try volume.content.checkClone(
            source, at: from, to: context.inode, at: to, length: call.length,
            sourceSize: call.sourceSize, replaces: isCheck && call.replaces ?? false)
        }
        if isCheck { return ReflinkCall.Answer(bytes: 0, isComplete: false) }
        try dropPrivileges(context)
        // An error does not say that nothing has changed.
        defer { context.changes.noteContent() }
        let (bytes, isComplete) = try ControlFailure.telling { () throws(FilesystemError) in
          try volume.content.clone(
            source, at: from, to: context.inode, at: to, length: call.length,
            sourceSize: call.sourceSize, keepsSize: context.keepsSizes)
        }
        return ReflinkCall.Answer(bytes: bytes, isComplete: isComplete)
      },
    ]
  }

  /// Takes capabilities off, and set-user-ID and set-group-ID bits unless root asks, as the content is
  /// about to change.
  private func dropPrivileges(_ context: ControlContext) throws(ControlFailure) {
    let caller = context.credentials
    try ControlFailure.telling { () throws(FilesystemError) in
      let name = Array("security.capability".utf8)
      if try volume.attributes.listAttributes(context.inode).contains(name) {
        try volume.attributes.removeAttribute(context.inode, name)
      }
    }
    guard caller.uid != 0 else { return }
    try ControlFailure.telling { () throws(FilesystemError) in
      let group = try volume.attributes.attributes(of: context.inode).item.gid
      _ = try volume.attributes.dropPrivileges(of: context.inode, isOutsider: caller.gid != group)
    }
  }
}
