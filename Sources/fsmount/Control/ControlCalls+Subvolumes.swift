import FSCore

/// Makes an empty subvolume in the directory that is asked.
struct SubvolumeCreateCall: ControlCall {
  static let command = "subvolume_create"
  typealias Answer = SubvolumeReport

  /// The umask where a request names none.
  static let usualUmask: UInt32 = 0o022

  var name: String
  /// The caller's, which the kernel does not pass on with an ioctl.
  var umask: UInt32?
}

/// Makes a snapshot in the directory that is asked.
struct SubvolumeSnapshotCall: ControlCall {
  static let command = "subvolume_snapshot"
  typealias Answer = SubvolumeReport

  /// The number of the subvolume of which it is one.
  var source: UInt64
  var name: String
  var readOnly: Bool?
}

/// Deletes a subvolume that stands in the directory that is asked.
struct SubvolumeDeleteCall: ControlCall {
  static let command = "subvolume_delete"
  typealias Answer = NoResult

  var name: String
}

struct SubvolumeListCall: ControlCall {
  static let command = "subvolume_list"

  struct Answer: Codable, Sendable {
    var subvolumes: [SubvolumeReport]
    /// The one that is mounted when none is named.
    var defaultSubvolume: UInt64
    /// Deleted ones whose space is not free yet.
    var deleted: [SubvolumeReport]?
    /// The one to which the file or directory that is asked belongs.
    var asked: UInt64?
    /// Whether it is its root directory that was asked.
    var isRoot: Bool?
    /// What is damaged, and so is missing or incomplete.
    var problems: [String]?
    /// The numbers of subvolumes that are missing for that, or incomplete.
    var damaged: [UInt64]?
    /// Why the default subvolume is not known.
    var defaultProblem: String?

    init(_ listing: SubvolumeListing, defaultSubvolume: FoundDefault, asked: InodeID) {
      subvolumes = listing.subvolumes.map { SubvolumeReport($0) }
      deleted = listing.deleted.map { SubvolumeReport($0) }
      self.defaultSubvolume = defaultSubvolume.id.rawValue
      self.asked = asked.tree.rawValue
      isRoot = asked.number == .firstFree
      problems = listing.problems + [defaultSubvolume.problem].compactMap { $0 }
      damaged = listing.damaged.map(\.rawValue).sorted()
      defaultProblem = defaultSubvolume.problem
    }

    /// Whether what is said of a subvolume is all there is.
    func isWhole(_ id: UInt64) -> Bool {
      // An older mount does not tell of which subvolumes something is damaged.
      guard let damaged else { return problems?.isEmpty ?? true }
      return !damaged.contains(id)
    }
  }
}

/// The subvolume to which the file or directory that is asked belongs.
struct SubvolumeShowCall: ControlCall {
  static let command = "subvolume_show"

  struct Answer: Codable, Sendable {
    var subvolume: SubvolumeReport
    /// Whether it is the subvolume's root directory that was asked.
    var isRoot: Bool
    /// The paths of snapshots of it.
    var snapshots: [String]
  }

  /// Another one, by its number.
  var id: UInt64?
}

struct SubvolumeSetDefaultCall: ControlCall {
  static let command = "subvolume_set_default"
  typealias Answer = SubvolumeReport

  /// Missing: the one whose root directory is asked.
  var id: UInt64?
}

/// Makes the subvolume whose root directory is asked read-only, or writable.
struct SubvolumeSetReadOnlyCall: ControlCall {
  static let command = "subvolume_set_read_only"
  typealias Answer = SubvolumeReport

  var readOnly: Bool
  /// A received one becomes writable, and is no longer known as received.
  var force: Bool?
}

/// A subvolume. UUIDs that it does not have are missing. Names are in the form that comes back from
/// snake_case.
struct SubvolumeReport: Codable, Sendable, Equatable {
  struct Time: Codable, Sendable, Equatable {
    var seconds: Int64
    var nanoseconds: UInt32

    init(_ time: Timestamp) {
      seconds = time.seconds
      nanoseconds = time.nanoseconds
    }
  }

  var id: UInt64
  /// Missing of the top level, of deleted ones, and where it is not known.
  var parent: UInt64?
  var name: String
  /// Where the name is not UTF-8: what it really is.
  var nameBytes: [UInt8]?
  /// From the top level; empty where it is not known.
  var path: String
  var pathBytes: [UInt8]?
  var generation: UInt64
  var creationGeneration: UInt64
  var creationTime: Time
  var uuid: String?
  var parentUuid: String?
  var receivedUuid: String?
  var isReadOnly: Bool
  var sendGeneration: UInt64
  var sendTime: Time
  var receiveGeneration: UInt64
  var receiveTime: Time

  init(_ record: SubvolumeRecord) {
    func text(_ uuid: UUIDBytes) -> String? { uuid == .zero ? nil : "\(uuid)" }
    let item = record.item
    id = record.id.rawValue
    parent = record.parent?.rawValue
    func bytes(_ name: [UInt8]) -> [UInt8]? {
      String(validating: name, as: UTF8.self) == nil ? name : nil
    }
    name = String(decoding: record.name, as: UTF8.self)
    nameBytes = bytes(record.name)
    path = String(decoding: record.path, as: UTF8.self)
    pathBytes = bytes(record.path)
    generation = item.generation.rawValue
    creationGeneration = item.creationTransaction.rawValue
    creationTime = Time(item.creationTime)
    uuid = text(item.uuid)
    parentUuid = text(item.parentUUID)
    receivedUuid = text(item.receivedUUID)
    isReadOnly = item.isReadOnly
    sendGeneration = item.sendTransaction
    sendTime = Time(item.sendTime)
    receiveGeneration = item.receiveTransaction
    receiveTime = Time(item.receiveTime)
  }

  var isTopLevel: Bool { id == TreeID.topLevel.rawValue }

  /// The name as it is, UTF-8 or not.
  var wholeName: [UInt8] { nameBytes ?? Array(name.utf8) }

  /// The path as it is, UTF-8 or not.
  var wholePath: [UInt8] { pathBytes ?? Array(path.utf8) }

  /// The snapshots of this one among all.
  func snapshots(among records: [SubvolumeReport]) -> [SubvolumeReport] {
    records.filter { $0.parentUuid != nil && $0.parentUuid == uuid }
  }

  /// What shows one subvolume among all.
  static func answer(
    for id: UInt64, isRoot: Bool, among records: [SubvolumeReport]
  ) -> SubvolumeShowCall.Answer? {
    guard let report = records.first(where: { $0.id == id }) else { return nil }
    return SubvolumeShowCall.Answer(
      subvolume: report, isRoot: isRoot, snapshots: report.snapshots(among: records).map(\.path))
  }
}
