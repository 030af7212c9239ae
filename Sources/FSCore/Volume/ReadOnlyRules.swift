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
    if let reason = try foreignBalance() { return reason }
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

  /// A balance that cannot be gone on with here. One between two block groups has but an item that
  /// remembers it; in the midst of a group Linux has copies of trees whose blocks it would merge.
  private func foreignBalance() throws(FilesystemError) -> String? {
    let relocation = TreeID.relocation.objectID
    let hasCopies = try trees.root.findFirst(atLeast: Key(relocation, .rootItem, 0)) {
      (key, _) throws(FilesystemError) in key.objectID == relocation
    }
    if hasCopies == true {
      return "a balance was interrupted while it moved tree blocks; mount it once with Linux"
    }
    do throws(FilesystemError) {
      _ = try trees.root.find(BalanceItem.key) { bytes throws(FilesystemError) in
        try BalanceItem(bytes)
      }
      return nil
    } catch .unsupported(let why), .corrupt(let why) {
      return "a balance of the image is not finished, \(why); let Linux end or cancel it"
    }
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
