/// What a tree is, which its number says: the rules that depend on it are here, and nowhere else.
package enum TreeKind: Sendable {
  /// Files and directories. Snapshots share blocks of it.
  case subvolume
  /// What a balance moves, in copies of subvolumes' trees and in files of its own.
  case relocation
  /// What fsync made durable between two commits.
  case log
  /// The tree of trees and the tree of chunks, to which the superblock leads.
  case top
  /// Any other, of which there is one.
  case single

  /// Whether a block may have more than one reference: then it keeps the number of the tree that
  /// made it, and what it refers to is counted by the rules of format §9.6.
  package var isShareable: Bool {
    switch self {
    case .subvolume, .relocation: true
    case .log, .top, .single: false
    }
  }

  /// Whether its blocks are of the transaction that was running when they were written, and not of
  /// one that was committed.
  package var isAheadOfCommits: Bool { self == .log }

  /// Whether a root item in the root tree leads to it, rather than the superblock.
  package var hasRootItem: Bool {
    switch self {
    case .subvolume, .relocation, .single: true
    case .log, .top: false
    }
  }
}

extension TreeID {
  @inline(__always)
  package var kind: TreeKind {
    if isSubvolume { return .subvolume }
    switch self {
    case .relocation, .dataRelocation: return .relocation
    case .log: return .log
    case .root, .chunk: return .top
    default: return .single
    }
  }
}
