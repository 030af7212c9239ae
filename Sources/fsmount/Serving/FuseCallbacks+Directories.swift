import CFuse
import FSCore
import Glibc
import Synchronization

extension FuseCallbacks {
  static func addDirectories(_ operations: inout fuse_lowlevel_ops) {
    operations.opendir = { request, number, file in
      FuseServer.answer(request, .opendir) { server in
        var file = server.opened(file)
        file.cache_readdir = server.directoryReaders.mustKeep(number) ? 1 : 0
        file.fh = UInt64(UInt(bitPattern: Unmanaged.passRetained(OpenDirectory()).toOpaque()))
        return .opened(file)
      }
    }

    operations.releasedir = { request, _, file in
      FuseServer.answer(request, .releasedir) { _ in
        OpenDirectory.of(file)?.release()
        return .done
      }
    }

    operations.readdir = { request, number, size, offset, file in
      var next: DirectoryPosition?
      FuseServer.answer(request, .readdir) { server throws(FilesystemError) in
        var list = DirectoryList(request, server.answerBuffer(size))
        _ = server.directoryReaders.note(number, from: offset, withAttributes: false)
        try server.read(number, from: offset, file, expecting: size / 32) { record in
          list.append(record, shown: server.nodes.shown(record.id))
        }
        next = list.end.map { DirectoryPosition(server, number, $0) }
        return .data(list.bytes)
      }
      next?.prefetch()
    }

    operations.readdirplus = { request, number, size, offset, file in
      var next: DirectoryPosition?
      FuseServer.answer(request, .readdirplus) { server throws(FilesystemError) in
        var list = DirectoryList(request, server.answerBuffer(size))
        var left = server.directoryReaders.note(number, from: offset, withAttributes: true)
        try server.read(
          number, from: offset, file,
          expecting: min(left, size / DirectoryList.fixedSizeWithAttributes),
          withAttributes: true
        ) { record in
          guard left > 0, list.hasRoom(for: record) else { return list.stop() }
          left -= 1
          return list.append(record, server.entryOfDirectory(record))
        }
        next = list.end.map { DirectoryPosition(server, number, $0) }
        return .data(list.bytes)
      }
      next?.prefetch()
    }

    operations.fsyncdir = { request, number, dataOnly, _ in
      FuseServer.answer(request, .fsyncdir) { server throws(FilesystemError) in
        try server.volume.content.synchronize(server.inode(number), dataOnly: dataOnly != 0)
        return .done
      }
    }
  }
}

/// A directory that is being read: where it ended when the reading began. What is renamed while
/// it is read goes to the end, and would else be met again and again.
private final class OpenDirectory: Sendable {
  let lastEntry = Atomic<UInt64>(.max)

  static func of(_ file: UnsafeMutablePointer<fuse_file_info>?) -> Unmanaged<OpenDirectory>? {
    guard let file, let pointer = UnsafeRawPointer(bitPattern: UInt(file.pointee.fh)) else {
      return nil
    }
    return Unmanaged.fromOpaque(pointer)
  }
}

/// Where the next request for a directory will begin.
private struct DirectoryPosition {
  let server: FuseServer
  let number: fuse_ino_t
  let cookie: UInt64

  init(_ server: FuseServer, _ number: fuse_ino_t, _ cookie: UInt64) {
    self.server = server
    self.number = number
    self.cookie = cookie
  }

  /// Reads ahead while the kernel and its caller are busy with the answer that was just sent.
  func prefetch() {
    guard let id = server.nodes.inode(number) else { return }
    let work = { @Sendable [cookie, namespace = server.volume.namespace] in
      namespace.prefetchDirectory(id, from: cookie)
    }
    // Over io_uring the answer goes out when the callback has ended, so another thread does it.
    if cfuse_answer_waits_for_callback() { server.prefetcher.add(work) } else { work() }
  }
}

extension FuseServer {
  fileprivate func read(
    _ number: fuse_ino_t, from offset: off_t, _ file: UnsafeMutablePointer<fuse_file_info>?,
    expecting count: Int, withAttributes: Bool = false,
    _ body: (DirectoryRecord) throws(FilesystemError) -> Bool
  ) throws(FilesystemError) {
    let id = try inode(number)
    let directory = OpenDirectory.of(file)?.takeUnretainedValue()
    // At the first request, and after rewinddir(3).
    if offset == 0 {
      directory?.lastEntry.store(try volume.namespace.lastEntry(of: id), ordering: .relaxed)
    }
    try volume.namespace.readDirectory(
      id, from: UInt64(bitPattern: Int64(offset)),
      through: directory?.lastEntry.load(ordering: .relaxed) ?? .max, expecting: count,
      withAttributes: withAttributes, body)
  }

  /// What goes with a name in a directory: the attributes, or with number 0 only the type, and
  /// the kernel asks when it needs more.
  fileprivate func entryOfDirectory(_ record: DirectoryRecord) -> fuse_entry_param {
    // "." and "..", with which the kernel takes no reference, have none.
    if let attributes = record.attributes { return entry(attributes) }
    var entry = fuse_entry_param()
    entry.attr.st_ino = ino_t(nodes.shown(record.id))
    entry.attr.st_mode = record.type.modeBits
    return entry
  }
}

/// The answer to readdir as it grows, in the form that the kernel reads.
private struct DirectoryList {
  /// What an entry with attributes takes beside its name.
  static let fixedSizeWithAttributes = 152

  private let request: fuse_req_t?
  private let buffer: UnsafeMutableRawBufferPointer
  private var used = 0
  private var lastCookie: UInt64?
  private var isFull = false
  /// Of which number and type are used.
  private var status = stat()

  init(_ request: fuse_req_t?, _ buffer: UnsafeMutableRawBufferPointer) {
    self.request = request
    self.buffer = buffer
  }

  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: buffer[..<used]) }

  /// Where the directory goes on; nil when all of it, or nothing, is in the list.
  var end: UInt64? { isFull ? lastCookie : nil }

  /// Takes no more records; always false.
  mutating func stop() -> Bool {
    isFull = true
    return false
  }

  /// Whether a record fits with its attributes. Asked before they are used: an entry that is
  /// not sent must not get a number.
  func hasRoom(for record: DirectoryRecord) -> Bool {
    (Self.fixedSizeWithAttributes + record.nameBytes.count + 7) & ~7 <= buffer.count - used
  }

  /// Adds a name with its type; false when there is no room for it.
  mutating func append(_ record: DirectoryRecord, shown: UInt64) -> Bool {
    status.st_ino = ino_t(shown)
    status.st_mode = record.type.modeBits
    return add(
      record,
      fuse_add_direntry(
        request, room, buffer.count - used, Self.name(of: record), &status,
        off_t(bitPattern: record.nextCookie)))
  }

  /// Adds a name with its attributes; false when there is no room for it.
  mutating func append(_ record: DirectoryRecord, _ entry: fuse_entry_param) -> Bool {
    var entry = entry
    return add(
      record,
      fuse_add_direntry_plus(
        request, room, buffer.count - used, Self.name(of: record), &entry,
        off_t(bitPattern: record.nextCookie)))
  }

  private var room: UnsafeMutablePointer<CChar>? {
    buffer.baseAddress.map { ($0 + used).assumingMemoryBound(to: CChar.self) }
  }

  /// A zero byte follows the name.
  private static func name(of record: DirectoryRecord) -> UnsafePointer<CChar>? {
    record.nameBytes.baseAddress?.assumingMemoryBound(to: CChar.self)
  }

  /// Takes note of a record in `size` bytes, which libfuse has written if they fit.
  private mutating func add(_ record: DirectoryRecord, _ size: Int) -> Bool {
    guard size <= buffer.count - used else { return stop() }
    used += size
    lastCookie = record.nextCookie
    return true
  }
}

extension off_t {
  fileprivate init(bitPattern cookie: UInt64) { self = off_t(Int64(bitPattern: cookie)) }
}
