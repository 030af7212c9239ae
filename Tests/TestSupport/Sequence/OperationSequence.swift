import Glibc

/// A seeded sequence of operations on a directory tree. It gives a trace of every result; the same
/// seed on two file systems that hold the same tree must give the same trace.
///
/// What may differ is not in the trace: inode numbers, times that no operation set, free space.
package final class OperationSequence {
  let root: BytePath
  let options: SequenceOptions
  let names = NamePool()
  /// Top-level directories (subvolumes) that are neither renamed nor removed.
  let protected: Set<BytePath>
  var random: SeededRandom
  var model: NamespaceModel
  var handles: [Handle] = []
  var handlesOpened = 0
  let buffer: UnsafeMutableRawBufferPointer
  package private(set) var trace: [String] = []
  package var readOnlySubvolumes: Set<BytePath> { model.readOnly }

  /// A file kept open, by whatever name or by none.
  struct Handle {
    let descriptor: Int32
    let label: String
  }

  package init(root: BytePath, options: SequenceOptions, protected: Set<String> = []) throws {
    self.root = root
    self.options = options
    self.protected = Set(protected.map { BytePath($0) })
    random = SeededRandom(seed: options.seed)
    model = try NamespaceModel(scanning: root, tellingSubvolumes: options.subvolumes != nil)
    for path in options.readOnlySubvolumes { model.setReadOnly(path, true) }
    buffer = .allocate(byteCount: 256 << 10, alignment: 4096)
  }

  deinit {
    for handle in handles { close(handle.descriptor) }
    buffer.deallocate()
  }

  /// Runs all operations, closes what is open, and returns the trace. Throws only if the tests
  /// themselves cannot go on; a failed operation is a result like any other.
  @discardableResult
  package func run() throws -> [String] {
    for number in 1...options.operations {
      let line: String
      if let tool = options.subvolumes, random.oneIn(12) {
        line = try changeSubvolumes(tool)
      } else {
        line = perform(chooseAction())
      }
      trace.append("\(number) \(line)")
    }
    while let handle = handles.popLast() {
      trace.append("close \(handle.label) = \(resultText(outcome { close(handle.descriptor) }))")
    }
    return trace
  }

  enum Action: CaseIterable {
    case create, makeDirectory, makeNode, makeSymlink, makeLink, unlink, removeDirectory
    case removeTree, rename, write, append, truncate, allocate, read, content
    case setAttribute, removeAttribute, getAttribute, listAttributes
    case changeMode, changeOwner, setTimes, status, listDirectory, readLink, sync
    case openHandle, closeHandle, linkBurst, createBurst, wrongPath, copyRange

    var weight: Int {
      switch self {
      case .create: 10
      case .makeDirectory: 5
      case .makeNode, .makeSymlink: 3
      case .makeLink: 5
      case .unlink: 8
      case .removeDirectory: 2
      case .removeTree, .linkBurst, .createBurst: 1
      case .rename: 10
      case .write: 14
      case .append: 4
      case .truncate: 6
      case .allocate: 8
      case .read: 5
      case .content, .sync: 2
      case .setAttribute: 6
      case .removeAttribute: 2
      case .getAttribute, .listAttributes: 2
      case .changeMode, .changeOwner, .setTimes: 3
      case .status: 5
      case .listDirectory: 3
      case .readLink, .wrongPath: 2
      case .openHandle, .closeHandle: 4
      case .copyRange: 6
      }
    }
  }

  private static let table: [Action] = Action.allCases.flatMap {
    Array(repeating: $0, count: $0.weight)
  }

  private func chooseAction() -> Action {
    if model.count > options.entryLimit, random.oneIn(3) {
      return random.oneIn(4) ? .removeTree : .unlink
    }
    return random.pick(Self.table)
  }

  private func perform(_ action: Action) -> String {
    switch action {
    case .create: create()
    case .makeDirectory: makeDirectory()
    case .makeNode: makeNode()
    case .makeSymlink: makeSymlink()
    case .makeLink: makeLink()
    case .unlink: unlinkSomething()
    case .removeDirectory: removeDirectory()
    case .removeTree: removeSubtree()
    case .rename: renameSomething()
    case .write: writeSomething()
    case .append: appendSomething()
    case .truncate: truncateSomething()
    case .allocate: allocateSomething()
    case .read: readSomething()
    case .content: compareContent()
    case .setAttribute: setAttribute()
    case .removeAttribute: removeAttribute()
    case .getAttribute: getAttribute()
    case .listAttributes: listAttributes()
    case .changeMode: changeMode()
    case .changeOwner: changeOwner()
    case .setTimes: setTimes()
    case .status: status()
    case .listDirectory: listDirectory()
    case .readLink: readSymlink()
    case .sync: syncSomething()
    case .openHandle: openHandle()
    case .closeHandle: closeHandle()
    case .linkBurst: linkBurst()
    case .createBurst: createBurst()
    case .wrongPath: wrongPath()
    case .copyRange: copyRange()
    }
  }

  // MARK: - Choices

  func full(_ path: BytePath) -> BytePath { root.appending(path) }

  func isProtected(_ path: BytePath) -> Bool { path.bytes.isEmpty || protected.contains(path) }

  /// Something that exists, of one of these kinds, or a new name when there is none.
  func existing(_ wanted: NamespaceModel.Kind...) -> BytePath {
    let kinds = wanted.flatMap { $0 == .directory ? [.directory, .subvolume] : [$0] }
    let lists = kinds.map { model.paths($0) }.filter { !$0.isEmpty }
    guard !lists.isEmpty else { return newPath() }
    let total = lists.reduce(0) { $0 + $1.count }
    var index = random.below(total)
    for list in lists {
      if index < list.count { return list[index] }
      index -= list.count
    }
    return newPath()
  }

  func anything() -> BytePath { existing(.directory, .file, .symlink, .special) }

  func directory() -> BytePath {
    let path = existing(.directory)
    // Deep trees of long names end at the limit for paths, which is not what is tested here.
    return path.bytes.count > 1200 ? BytePath([]) : path
  }

  /// A name in some directory; now and then one that exists.
  func newPath() -> BytePath { directory().appending(names.name(&random)) }

  func resultText(_ result: Int) -> String {
    result < 0 ? errorName(Int32(-result)) : "\(result)"
  }

  func show(_ path: BytePath) -> String {
    let text = path.bytes.isEmpty ? "." : path.description
    return model.isReadOnly(path) ? text + Self.readOnlyMark : text
  }

  /// Behind a path in the trace where a read-only subvolume refuses changes.
  package static let readOnlyMark = "[read-only]"
}
