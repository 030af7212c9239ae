/// Why an image can be read only: all rules, in the order in which they are told of. Those that
/// look at trees come last.
///
/// What is not here is written as Linux does.
struct ReadOnlyRules {
  let superblock: Superblock
  let options: VolumeOptions
  let chunks: ChunkMap
  let trees: Trees

  /// Nil for an image that can be written.
  func firstReason() throws(FilesystemError) -> String? {
    if let reason = ofSuperblock { return reason }
    if let profile = foreignProfile { return "the image has \(profile) block groups" }
    if try hasUnfinishedBalance() {
      return "a balance of the image is not finished; let Linux end or cancel it"
    }
    return try disagreement()
  }

  private var ofSuperblock: String? {
    if options.readOnly { return "mounted with -o ro" }
    if superblock.logRoot.rawValue != 0 { return "its log tree is not replayed" }
    if superblock.deviceCount > 1 {
      return "the image is one of \(superblock.deviceCount) devices of its file system; "
        + "what has no copy on it cannot be read"
    }
    let features = superblock.readOnlyFeatures
    let unknown = features.rawValue & ~ReadOnlyCompatibleFeatures.known.rawValue
    if features.contains(.blockGroupTree), !superblock.features.contains(.noHoles) {
      return "the image has a block group tree without NO_HOLES, which Linux refuses"
    }
    if unknown != 0 {
      return "the image has the feature"
        + Superblock.names(of: unknown, ReadOnlyCompatibleFeatures.names)
    }
    if superblock.flags.contains(.seeding) { return "the image is a seed device" }
    if superblock.flags.contains(.error) {
      return "the superblock says that there is an error; let btrfs check look at the image"
    }
    return nil
  }

  /// A profile that is not written here: of several devices, though there may be one left.
  private var foreignProfile: String? {
    chunks.all.map(\.item.flags).first { flags in
      !flags.intersection(.profiles).isSubset(of: .dup)
    }?.profileName
  }

  /// Whether extents are being moved: references of a kind that only Linux keeps.
  private func hasUnfinishedBalance() throws(FilesystemError) -> Bool {
    if try trees.root.contains(Key(.balance, .temporaryItem, 0)) { return true }
    let relocation = TreeID.relocation.objectID
    return try trees.root.findFirst(atLeast: Key(relocation, .rootItem, 0)) {
      (key, _) throws(FilesystemError) in key.objectID == relocation
    } ?? false
  }

  private func disagreement() throws(FilesystemError) -> String? {
    let hasOwnGroupTree = superblock.readOnlyFeatures.contains(.blockGroupTree)
    let groupTree = hasOwnGroupTree ? try trees.optional(.blockGroup) : trees.extent
    guard let groupTree else { return "the image lacks the block group tree it should have" }
    let agreement = LayoutAgreement(
      chunks: chunks, deviceID: try superblock.deviceItem.deviceID, deviceTree: trees.device,
      groupTree: groupTree, hasOwnGroupTree: hasOwnGroupTree)
    return try agreement.disagreement().map { "the image contradicts itself: \($0)" }
  }
}
