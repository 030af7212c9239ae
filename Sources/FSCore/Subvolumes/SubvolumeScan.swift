/// What is known of a subvolume: its root item, and where it stands.
package struct SubvolumeRecord: Sendable {
  package let id: TreeID
  package let item: RootItem
  /// The subvolume that it stands in; nil for the top level, and where that is not known.
  package var parent: TreeID?
  /// In that one.
  package var directory: ObjectID?
  package var name: [UInt8] = []
  /// From the top level; empty for that itself, and where it is not known.
  package var path: [UInt8] = []
}

/// The subvolumes of a file system.
package struct SubvolumeListing: Sendable {
  /// By ascending number, the top level first.
  package var subvolumes: [SubvolumeRecord] = []
  /// Those that are deleted, but not yet taken apart. They stand nowhere.
  package var deleted: [SubvolumeRecord] = []
  /// What is damaged, and so is missing in the listing or incomplete.
  package var problems: [String] = []
  /// Subvolumes that are left out, or of which something is not known.
  package var damaged: Set<TreeID> = []
}

/// Tells where directories stand: what a scan of the root tree asks of the subvolumes' own trees.
package protocol DirectoryLinks {
  /// The directory that this one stands in, and its name there; nil when nothing says so.
  func link(
    of directory: ObjectID, in tree: TreeID
  ) throws(FilesystemError) -> (parent: ObjectID, name: [UInt8])?
}

/// Gathers what the root tree says of subvolumes, from its items in the order of their keys.
///
/// 1. A damaged item costs what it says, and nothing else: it is named among the problems.
/// 2. It ends, and its memory is bounded by the number of items, whatever they say: all paths together
///    have `mostPathBytes` at the most, so many that those of real subvolumes are found, and
///    `mostLookups` directories are looked up. That also bounds a listing, and an answer of the control
///    channel that is made of one.
///
/// Belongs to one thread.
package struct SubvolumeScan {
  private struct Place {
    let parent: TreeID
    let reference: RootReference
  }

  private var found: [SubvolumeRecord] = []
  /// By the items of the subvolumes themselves.
  private var places: [TreeID: Place] = [:]
  /// By the items of the subvolumes that they stand in, which say the same.
  private var otherPlaces: [TreeID: Place] = [:]
  private var damagedPlaces: [TreeID: String] = [:]
  private var damaged: Set<TreeID> = []
  private let remarks = Remarks()

  package init() {}

  /// The items that are wanted.
  package static let firstKey = Key(TreeID.topLevel.objectID, .rootItem, 0)
  package static let lastKey = Key(.lastFree, ItemType(.max), .max)

  /// Takes an item.
  ///
  /// - Parameter damage: the rule that it breaks, as far as that is known already.
  package mutating func add(_ key: Key, _ bytes: RawSpan, damage: StaticString? = nil) {
    if let damage { return addDamaged(key, "\(damage)") }
    do throws(FilesystemError) {
      try addWhole(key, bytes)
    } catch {
      addDamaged(key, Self.text(error))
    }
  }

  private mutating func addWhole(_ key: Key, _ bytes: RawSpan) throws(FilesystemError) {
    let id = TreeID(key.objectID.rawValue)
    switch key.type {
    case .rootItem where id.isSubvolume:
      let record = SubvolumeRecord(id: id, item: try RootItem(bytes))
      // Of several, which only a hostile image has, the last one counts everywhere.
      if found.last?.id == id { found.removeLast() }
      found.append(record)
    case .rootBackref where id.isSubvolume:
      let place = Place(parent: TreeID(key.offset), reference: try RootReference(bytes))
      if places[id] == nil { places[id] = place }
    case .rootRef:
      let place = Place(parent: id, reference: try RootReference(bytes))
      otherPlaces[TreeID(key.offset)] = place
    default: break
    }
  }

  private mutating func addDamaged(_ key: Key, _ rule: String) {
    let id = TreeID(key.objectID.rawValue)
    switch key.type {
    case .rootItem where id.isSubvolume:
      damaged.insert(id)
      remarks.add("subvolume \(id) is left out: its ROOT_ITEM is damaged (\(rule))")
    case .rootBackref: damagedPlaces[id] = rule
    case .rootRef:
      remarks.add("subvolume \(id): its ROOT_REF for \(key.offset) is damaged (\(rule))")
    default: remarks.add("root tree, item \(key): \(rule)")
    }
  }

  private static func text(_ error: FilesystemError) -> String {
    if case .corrupt(let rule) = error { return rule }
    return "\(error)"
  }

  /// Ends the scan. Other remarks may be given to stand behind its own.
  package mutating func finish(
    _ links: some DirectoryLinks, further: Remarks? = nil
  ) -> SubvolumeListing {
    for record in found where record.item.references > 0 && record.id != .topLevel {
      findOtherPlace(of: record.id)
    }
    for (id, rule) in damagedPlaces.sorted(by: { $0.key < $1.key }) {
      damaged.insert(id)
      remarks.add("subvolume \(id): its ROOT_BACKREF is damaged (\(rule))")
    }
    // The top level is in nothing, whatever an image says.
    places[.topLevel] = nil
    var listing = SubvolumeListing()
    var paths = SubvolumePaths(links: links, count: found.count)
    for var record in found {
      guard record.item.references > 0 else {
        listing.deleted.append(record)
        continue
      }
      if let place = places[record.id] {
        record.parent = place.parent
        record.directory = place.reference.directory
        record.name = place.reference.name
        do throws(FilesystemError) {
          record.path = try path(of: record.id, &paths)
        } catch {
          damaged.insert(record.id)
          remarks.add("subvolume \(record.id): its path is not known: \(Self.text(error))")
        }
      }
      listing.subvolumes.append(record)
    }
    listing.damaged = damaged
    listing.problems = remarks.kept + (further?.kept ?? [])
    let count = remarks.count + (further?.count ?? 0)
    if count > listing.problems.count { listing.problems.append("\(count) problems in all") }
    return listing
  }

  private mutating func findOtherPlace(of id: TreeID) {
    guard places[id] == nil else { return }
    damaged.insert(id)
    let what = damagedPlaces.removeValue(forKey: id).map { "is damaged (\($0))" } ?? "is missing"
    guard let other = otherPlaces[id] else {
      return remarks.add(
        "subvolume \(id): its ROOT_BACKREF \(what), and nothing else says where it stands")
    }
    places[id] = other
    remarks.add(
      "subvolume \(id): its ROOT_BACKREF \(what); where it stands is what the ROOT_REF of "
        + "\(other.parent) says")
  }

  /// Finds the paths of those above it, too: each is found once, however many stand below it.
  private func path(
    of id: TreeID, _ paths: inout SubvolumePaths<some DirectoryLinks>
  ) throws(FilesystemError) -> [UInt8] {
    // From the subvolume up to one whose path is known, or known not to be found. What is on the way
    // counts as that, so a circle ends.
    var chain: [TreeID] = []
    var next = id
    while paths.known[next] == nil {
      paths.known[next] = .failure(.corrupt("it does not stand below the top level"))
      chain.append(next)
      guard let place = places[next] ?? otherPlaces[next] else { break }
      next = place.parent
    }
    for id in chain.reversed() {
      guard let place = places[id] ?? otherPlaces[id] else { continue }
      paths.find(id, in: place.parent, place.reference)
    }
    switch paths.known[id] {
    case .success(let path): return path
    case .failure(let error): throw error
    case nil: throw .notFound
    }
  }
}

/// The paths of subvolumes, as far as they were looked for.
private struct SubvolumePaths<Links: DirectoryLinks> {
  private struct Directory: Hashable {
    let tree: TreeID
    let number: ObjectID
  }

  /// Paths that are longer are those of a hostile image: a mount knows no path of more than 4 KiB.
  private static var longestPath: Int { 64 << 10 }
  private static var mostLookups: Int { 1 << 22 }
  /// What a byte of a path costs that is not UTF-8: answers have its bytes as numbers besides.
  private static var costOfOtherBytes: Int { 16 }

  let links: Links
  /// Of paths of subvolumes and of directories on the way to them.
  private let mostPathBytes: Int
  var known: [TreeID: Result<[UInt8], FilesystemError>] = [.topLevel: .success([])]
  private var directories: [Directory: Result<[UInt8], FilesystemError>] = [:]
  private var pathBytes = 0
  private var lookups = 0

  init(links: Links, count: Int) {
    self.links = links
    mostPathBytes = min(2 << 20 + count << 11, 16 << 20)
  }

  /// Notes the path of a subvolume, or why there is none.
  mutating func find(_ id: TreeID, in parent: TreeID, _ reference: RootReference) {
    do throws(FilesystemError) {
      known[id] = .success(try path(in: parent, reference))
    } catch {
      known[id] = .failure(error)
    }
  }

  private mutating func path(
    in parent: TreeID, _ reference: RootReference
  ) throws(FilesystemError) -> [UInt8] {
    let above: [UInt8]
    switch known[parent] {
    case .success(let path): above = path
    case .failure(let error): throw error
    case nil: throw .corrupt("there is no subvolume \(parent), in which it stands")
    }
    var path = above
    for part in [try directory(reference.directory, in: parent), reference.name] {
      guard !part.isEmpty else { continue }
      if !path.isEmpty { path.append(UInt8(ascii: "/")) }
      path += part
    }
    try charge(path)
    return path
  }

  private mutating func charge(_ path: [UInt8]) throws(FilesystemError) {
    guard path.count <= Self.longestPath else { throw .corrupt("it is too long") }
    let isText = String(validating: path, as: UTF8.self) != nil
    pathBytes += path.count * (isText ? 1 : Self.costOfOtherBytes)
    guard pathBytes <= mostPathBytes else {
      throw .corrupt("all paths together are too long")
    }
  }

  /// The path of a directory from its subvolume's root. Those of the directories above it are found,
  /// too: each is looked up once, whether it is found or not.
  private mutating func directory(
    _ number: ObjectID, in tree: TreeID
  ) throws(FilesystemError) -> [UInt8] {
    var chain: [(directory: Directory, name: [UInt8])] = []
    var result: Result<[UInt8], FilesystemError> = .success([])
    var next = number
    while next != .firstFree {
      let directory = Directory(tree: tree, number: next)
      if let known = directories[directory] {
        result = known
        break
      }
      // What is on the way counts as not found, so a circle ends.
      directories[directory] = .failure(
        .corrupt("directory \(next) of subvolume \(tree) stands in a circle"))
      do throws(FilesystemError) {
        let (parent, name) = try link(of: next, in: tree)
        chain.append((directory, name))
        next = parent
      } catch {
        directories[directory] = .failure(error)
        result = .failure(error)
        break
      }
    }
    for (directory, name) in chain.reversed() {
      if case .success(let above) = result {
        let path = above.isEmpty ? name : above + [UInt8(ascii: "/")] + name
        do throws(FilesystemError) {
          try charge(path)
          result = .success(path)
        } catch {
          result = .failure(error)
        }
      }
      directories[directory] = result
    }
    switch result {
    case .success(let path): return path
    case .failure(let error): throw error
    }
  }

  private mutating func link(
    of directory: ObjectID, in tree: TreeID
  ) throws(FilesystemError) -> (parent: ObjectID, name: [UInt8]) {
    lookups += 1
    guard lookups <= Self.mostLookups else {
      throw .corrupt("too many directories have to be looked up")
    }
    guard let link = try links.link(of: directory, in: tree) else {
      throw .corrupt("nothing says where directory \(directory) of subvolume \(tree) stands")
    }
    return link
  }
}
