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
  /// Missing: up to the end of the source.
  var length: UInt64?
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
        try dropPrivileges(context)
        let (bytes, isComplete) = try ControlFailure.telling { () throws(FilesystemError) in
          try volume.content.clone(
            source, at: call.sourceOffset ?? 0, to: context.inode, at: call.offset ?? 0,
            length: call.length)
        }
        if bytes > 0 { context.changes.noteContent() }
        return ReflinkCall.Answer(bytes: bytes, isComplete: isComplete)
      },
    ]
  }

  /// Takes set-user-ID and set-group-ID bits off, as the content is about to change.
  private func dropPrivileges(_ context: ControlContext) throws(ControlFailure) {
    let caller = context.credentials
    guard caller.uid != 0 else { return }
    try ControlFailure.telling { () throws(FilesystemError) in
      let group = try volume.attributes.attributes(of: context.inode).item.gid
      _ = try volume.attributes.dropPrivileges(of: context.inode, isOutsider: caller.gid != group)
    }
  }
}
