import FSCore

/// The commands about subvolumes. A snapshot is answered when it is durable: that takes as long as one
/// commit, and writing back what is buffered of the source.
extension ControlledMount {
  var subvolumeOperations: [ControlOperation] {
    let subvolumes = volume.subvolumes
    return [
      ControlOperation(SubvolumeCreateCall.self, "makes a subvolume", needsWriting: true) {
        (call, context) throws(ControlFailure) in
        var credentials = context.credentials
        credentials.umask = (call.umask ?? SubvolumeCreateCall.usualUmask) & 0o777
        let id = try told { () throws(FilesystemError) in
          try subvolumes.create(Array(call.name.utf8), in: context.inode, credentials).id
        }
        context.changes.note(Array(call.name.utf8))
        return try report(of: id.tree)
      },
      ControlOperation(SubvolumeSnapshotCall.self, "makes a snapshot", needsWriting: true) {
        (call, context) throws(ControlFailure) in
        let source = InodeID(tree: TreeID(call.source), number: .firstFree)
        // The name may be there even when the commit has failed.
        context.changes.note(Array(call.name.utf8))
        let id = try told { () throws(FilesystemError) in
          try subvolumes.snapshot(
            of: source, Array(call.name.utf8), in: context.inode,
            isReadOnly: call.readOnly ?? false
          ).id
        }
        return try report(of: id.tree)
      },
      ControlOperation(SubvolumeDeleteCall.self, "deletes a subvolume", needsWriting: true) {
        (call, context) throws(ControlFailure) in
        let name = Array(call.name.utf8)
        try told { () throws(FilesystemError) in try subvolumes.delete(name, in: context.inode) }
        context.changes.note(name)
        return NoResult()
      },
      ControlOperation(SubvolumeListCall.self, "lists the subvolumes") {
        (_, context) throws(ControlFailure) in
        SubvolumeListCall.Answer(
          try told { () throws(FilesystemError) in try listing() },
          defaultSubvolume: try told { () throws(FilesystemError) in try foundDefault() },
          asked: context.inode)
      },
      ControlOperation(SubvolumeShowCall.self, "what is known of a subvolume") {
        (call, context) throws(ControlFailure) in
        let isRoot = call.id != nil || context.inode.number == .firstFree
        let id = call.id ?? context.inode.tree.rawValue
        guard let answer = SubvolumeReport.answer(for: id, isRoot: isRoot, among: try reports())
        else { throw Self.noSubvolume(id) }
        return answer
      },
    ] + propertyOperations
  }

  private var propertyOperations: [ControlOperation] {
    let subvolumes = volume.subvolumes
    return [
      ControlOperation(
        SubvolumeSetDefaultCall.self, "names the subvolume that is mounted when none is named",
        needsWriting: true
      ) { (call, context) throws(ControlFailure) in
        let id: TreeID
        if let number = call.id { id = TreeID(number) } else { id = try root(context) }
        do throws(FilesystemError) {
          try subvolumes.setDefault(id)
        } catch .notFound {
          throw Self.noSubvolume(id.rawValue)
        } catch {
          throw ControlFailure(error)
        }
        return try report(of: id)
      },
      ControlOperation(
        SubvolumeSetReadOnlyCall.self, "makes a subvolume read-only, or writable",
        needsWriting: true
      ) { (call, context) throws(ControlFailure) in
        let id = try root(context)
        try told { () throws(FilesystemError) in
          try subvolumes.setReadOnly(
            call.readOnly, of: context.inode, isForced: call.force ?? false)
        }
        return try report(of: id)
      },
    ]
  }

  private func root(_ context: ControlContext) throws(ControlFailure) -> TreeID {
    guard context.inode.number == .firstFree else {
      throw ControlFailure("this is not a subvolume", "EINVAL")
    }
    return context.inode.tree
  }

  private func reports() throws(ControlFailure) -> [SubvolumeReport] {
    let found = try told { () throws(FilesystemError) in try listing() }
    return found.subvolumes.map { SubvolumeReport($0) }
  }

  private func listing() throws(FilesystemError) -> SubvolumeListing {
    try pastDamage(volume.subvolumes.list) { (survey) throws(FilesystemError) in
      try survey.listing()
    }
  }

  private func foundDefault() throws(FilesystemError) -> FoundDefault {
    try pastDamage { () throws(FilesystemError) in
      FoundDefault(try volume.subvolumes.defaultSubvolume())
    } otherwise: { (survey) throws(FilesystemError) in
      try survey.defaultSubvolume()
    }
  }

  /// Where a leaf of the root tree is damaged, and so is not in memory, nor changed: what can be read of the
  /// last commit, item by item.
  private func pastDamage<Result>(
    _ body: () throws(FilesystemError) -> Result,
    otherwise: (SubvolumeSurvey) throws(FilesystemError) -> Result
  ) throws(FilesystemError) -> Result {
    do throws(FilesystemError) {
      return try body()
    } catch {
      guard error.isDamage else { throw error }
    }
    let device = volume.device.devices.members[0].device
    return try volume.device.reuse.reading { () throws(FilesystemError) in
      try otherwise(SubvolumeSurvey(ImageReader(device: device)))
    }
  }

  /// Of one that was made or changed just now.
  private func report(of id: TreeID) throws(ControlFailure) -> SubvolumeReport {
    let record = try told { () throws(FilesystemError) in try volume.subvolumes.record(of: id) }
    guard let record else { throw Self.noSubvolume(id.rawValue) }
    return SubvolumeReport(record)
  }

  private static func noSubvolume(_ id: UInt64) -> ControlFailure {
    ControlFailure("there is no subvolume \(id)", "ENOENT")
  }

  private func told<R>(
    _ body: () throws(FilesystemError) -> R
  ) throws(ControlFailure) -> R {
    try ControlFailure.telling(body)
  }
}
