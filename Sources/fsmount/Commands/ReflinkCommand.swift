import ArgumentParser
import CFuse
import FSCore
import Glibc

struct ReflinkCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "reflink",
    abstract: "Make a copy of a file that shares its data.",
    discussion: """
      Nothing is copied, and no space is needed but for what tells where the data are; what is changed in \
      one of the files later is not changed in the other. Where sharing is not possible nothing is done: \
      'cp' copies then, and shares by itself what can be shared.

      DEST is made. Where it is a directory, the copy gets SOURCE's name in it. A file that exists is left \
      alone, unless --force lets all of its content be replaced, or one of the options for ranges is \
      given: then that range of it is replaced, and the rest stays. With --force it stays the same file, \
      with its owner, permissions and attributes.

      Ranges begin and end at multiples of the block size (4096 bytes), but that they may end with both \
      files. A file with very many extents is shared in several steps. The user who mounted the image may \
      do this; root may where the mount lets it in (-o allow_other or allow_root).
      """)

  @Flag(name: .shortAndLong, help: "Replace the content of DEST if it exists.")
  var force = false

  @Option(
    name: .customLong("source-offset"),
    help: ArgumentHelp(
      "Where in SOURCE a range begins; only that is shared. 0 where it is not given.",
      valueName: "bytes"))
  var sourceOffset: ByteSize?

  @Option(
    name: .customLong("dest-offset"),
    help: ArgumentHelp("Where in DEST it goes; 0 where it is not given.", valueName: "bytes"))
  var destinationOffset: ByteSize?

  @Option(
    help: ArgumentHelp(
      "How long the range is; up to the end of SOURCE where it is not given.", valueName: "bytes"))
  var length: ByteSize?

  @Argument(help: ArgumentHelp("The file whose data are shared.", valueName: "source"))
  var source: String

  @Argument(help: ArgumentHelp("The copy.", valueName: "dest"))
  var destination: String

  private var isRange: Bool { sourceOffset != nil || destinationOffset != nil || length != nil }

  func validate() throws {
    if isRange, force {
      throw ValidationError("--force replaces all of DEST; with a range the rest of it stays")
    }
    if let length, length.bytes == 0 { throw ValidationError("--length is 0: nothing to share") }
  }

  func run() throws {
    guard !SubvolumePath.isDirectory(source) else {
      throw CommandFailure(
        "\(source) is a directory; 'fsmount subvolume snapshot' shares all of a subvolume")
    }
    // A file size limit is told by an error then.
    signal(SIGXFSZ, SIG_IGN)
    let descriptor = try opened(source, O_RDONLY)
    var status = try Self.regularFile(descriptor, source)
    let target = try target(status)
    var hasSucceeded = false
    defer { if target.isNew, !hasSucceeded { unlink(target.path) } }

    // What the kernel holds of mapped files belongs to the content.
    try SubvolumePath.flushMappedFiles(source)
    // Taken once: where both are one file it grows.
    status = try Self.regularFile(descriptor, source)
    let identity = try ControlChannel(source, closing: descriptor).ask(FileIdentityCall())
    try share(identity, size: UInt64(clamping: status.st_size), with: target)
    hasSucceeded = true
  }

  private struct Target {
    let path: String
    let descriptor: Int32
    let isNew: Bool
  }

  private func opened(_ path: String, _ flags: Int32) throws -> Int32 {
    let descriptor = open(path, flags | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else { throw CommandFailure.cannotOpen(path, errno) }
    return descriptor
  }

  /// Closes the descriptor where it is of something else.
  private static func regularFile(_ descriptor: Int32, _ path: String) throws -> stat {
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      close(descriptor)
      throw CommandFailure("\(path) is not a regular file")
    }
    return status
  }

  /// The destination, opened, and made where it does not exist.
  private func target(_ source: stat) throws -> Target {
    var path = destination
    if SubvolumePath.isDirectory(path) { path += "/\(try PlaceInMount(self.source).name)" }
    let place = try PlaceInMount(path)
    let existing = SubvolumePath.status(path)
    guard let other = existing ?? SubvolumePath.status(place.directory) else {
      throw CommandFailure.cannotOpen(place.directory, errno)
    }
    guard other.st_dev == source.st_dev else {
      throw CommandFailure(
        "'\(path)' is not in the same mount as '\(self.source)': data are shared within one")
    }
    guard let existing else {
      let mode = source.st_mode & 0o777
      let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
      guard descriptor >= 0 else { throw CommandFailure.cannotOpen(path, errno) }
      return Target(path: path, descriptor: descriptor, isNew: true)
    }

    guard existing.st_mode & S_IFMT == S_IFREG else {
      throw CommandFailure("\(path) is not a regular file")
    }
    if !isRange {
      guard existing.st_ino != source.st_ino else {
        throw CommandFailure("'\(self.source)' and '\(path)' are the same file")
      }
      guard force else {
        throw CommandFailure(
          "\(path) exists: --force replaces its content, and --dest-offset a range of it")
      }
    }
    let descriptor = try opened(path, O_WRONLY)
    _ = try Self.regularFile(descriptor, path)
    return Target(path: path, descriptor: descriptor, isNew: false)
  }

  /// Asks for one part after the other. The destination gets its new size before, from the kernel, which
  /// may keep the size that it knows, and knows how large a file may be.
  private func share(
    _ source: FileIdentityCall.Answer, size: UInt64, with target: Target
  ) throws {
    let (from, to) = (sourceOffset?.bytes ?? 0, destinationOffset?.bytes ?? 0)
    guard from <= size else {
      throw CommandFailure("the range begins behind the end of \(self.source), at \(size) bytes")
    }
    let length = self.length?.bytes ?? (size - from)
    let (end, isBeyond) = to.addingReportingOverflow(length)
    guard !isBeyond, end <= UInt64(Int64.max) else {
      throw CommandFailure("\(target.path): \(String(cString: strerror(EFBIG)))")
    }
    let descriptor = target.descriptor
    defer { close(descriptor) }
    let channel = ControlChannel(target.path, closing: dup(descriptor))
    var call = ReflinkCall(
      source: source, sourceOffset: from, offset: to, length: length, sourceSize: size)
    call.isCheck = true
    call.replaces = force
    _ = try channel.ask(call)
    call.isCheck = nil
    call.replaces = nil
    guard length > 0 || force else { return }

    if force { try Self.setSize(descriptor, 0, target.path) }
    var status = stat()
    fstat(descriptor, &status)
    let oldSize = UInt64(clamping: status.st_size)
    if oldSize < end { try Self.setSize(descriptor, end, target.path) }
    var done: UInt64 = 0
    while done < length {
      call.sourceOffset = from + done
      call.offset = to + done
      call.length = length - done
      let answer: ReflinkCall.Answer
      do throws(CommandFailure) {
        answer = try channel.ask(call)
        guard answer.bytes > 0, answer.bytes <= length - done else {
          throw CommandFailure("\(target.path): the mount does not go on")
        }
      } catch {
        // Nothing was there before.
        let reached = max(oldSize, done > 0 ? to + done : 0)
        if fstat(descriptor, &status) == 0, UInt64(clamping: status.st_size) == end, reached < end {
          ftruncate(descriptor, Int(reached))
        }
        guard done > 0, !target.isNew else { throw error }
        throw CommandFailure("\(error) (the first \(done) bytes are shared already)")
      }
      done += answer.bytes
    }
  }

  private static func setSize(_ descriptor: Int32, _ size: UInt64, _ path: String) throws {
    guard ftruncate(descriptor, Int(size)) == 0 else {
      throw CommandFailure("\(path): \(String(cString: strerror(errno)))")
    }
  }
}
