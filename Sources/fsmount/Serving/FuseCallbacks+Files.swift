import CFuse
import FSCore
import Glibc

extension FuseCallbacks {
  static func addFiles(_ operations: inout fuse_lowlevel_ops) {
    operations.open = { request, number, file in
      let flags = file?.pointee.flags ?? 0
      let body = { (server: FuseServer) throws(FilesystemError) -> FuseAnswer in
        let id = try server.inode(number)
        let isForWriting = flags & O_ACCMODE != O_RDONLY || flags & O_TRUNC != 0
        try server.volume.namespace.open(
          id, forWriting: isForWriting, appending: flags & (O_APPEND | O_TRUNC) == O_APPEND)
        if flags & O_TRUNC != 0 { try server.truncateAtOpen(id, number, request) }
        server.giveContent(of: id, number, to: file)
        return .opened(server.opened(id, file))
      }
      if flags & O_TRUNC == 0 {
        FuseServer.answer(request, .open, body)
      } else {
        FuseServer.answerChange(of: number, request, .open, body)
      }
    }

    // At every close of a descriptor, where `opened` has not said that it need not be. Before Linux
    // 5.16, and with writeback_cache, the kernel asks all the same.
    operations.flush = { request, number, file in
      FuseServer.answer(request, .flush) { server throws(FilesystemError) in
        try server.volume.content.reportFailure(
          of: server.inode(number), OpenFile.of(file)?.value.failures)
        return .done
      }
    }

    operations.release = { request, number, file in
      FuseServer.answer(request, .release) { server throws(FilesystemError) in
        let id = try server.inode(number)
        if OpenFile.isDirect(file) { server.directHandles.didClose(id) }
        if let open = OpenFile.of(file) {
          if open.value.isKept { server.writes.didClose() }
          open.release()
        }
        server.volume.namespace.release(id)
        return .done
      }
    }

    operations.read = { request, number, size, offset, _ in
      FuseServer.answer(request, .read) { server throws(FilesystemError) in
        let buffer = server.answerBuffer(size)
        let count = try server.volume.content.read(
          server.inode(number), at: UInt64(clamping: offset), into: buffer)
        return .data(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
      }
    }

    operations.write_buf = { request, number, vector, offset, file in
      guard let request else { return }
      let isDirect = OpenFile.writesDirectly(file)
      let answer = FuseServer.outcome(of: request, .write) { server throws(FilesystemError) in
        guard let vector else { throw .invalidArgument("no data") }
        let bytes = try server.bytes(of: vector)
        try server.dropPrivileges(of: number, for: request, FuseServer.rightInRequest)
        let id = try server.inode(number)
        let isOpenToAppend = OpenFile.of(file)?.value.isToAppend ?? false
        let count = try server.writes.during { () throws(FilesystemError) in
          try server.volume.content.write(
            id, at: UInt64(clamping: offset), bytes, isOpenToAppend: isOpenToAppend,
            // Of a direct write that is divided the kernel makes EIO.
            isWhole: isDirect)
        }
        return .written(count)
      }
      if isDirect, case .written(let count) = answer, count > 0 {
        FuseCallbacks.server(of: request).answerDirectWrite(
          request, to: number, offset..<offset + count)
      } else {
        FuseReply(request).send(answer)
      }
    }

    operations.fsync = { request, number, dataOnly, file in
      FuseServer.answer(request, .fsync) { server throws(FilesystemError) in
        try server.volume.content.synchronize(
          server.inode(number), dataOnly: dataOnly != 0, OpenFile.of(file)?.value.failures)
        return .done
      }
    }

    operations.fallocate = { request, number, mode, offset, length, _ in
      FuseServer.answerAllocation(of: number, request) { server throws(FilesystemError) in
        try server.dropPrivileges(of: number, for: request, .unknown)
        try server.volume.content.allocate(
          server.inode(number), FuseCallbacks.allocationMode(mode),
          offset: UInt64(clamping: offset), length: UInt64(clamping: length))
        return .done
      }
    }

    // Before, the kernel has us write what it has of both ranges; afterwards it forgets what it has of
    // the target's, and reckons with its new size.
    operations.copy_file_range = {
      request, source, sourceOffset, _, number, offset, _, length, _ in
      FuseServer.answer(request, .copyFileRange) { server throws(FilesystemError) in
        guard sourceOffset >= 0, offset >= 0 else { throw .invalidArgument("a negative offset") }
        try server.dropPrivileges(of: number, for: request, .unknown)
        let (from, to) = (try server.inode(source), try server.inode(number))
        let count = try server.writes.during { () throws(FilesystemError) in
          try server.volume.content.copy(
            from, at: UInt64(sourceOffset), to: to, at: UInt64(offset),
            length: min(UInt64(length), FuseServer.longestCopy))
        }
        return .written(Int(count))
      }
    }

    operations.lseek = { request, number, offset, whence, _ in
      FuseServer.answer(request, .lseek) { server throws(FilesystemError) in
        // SEEK_DATA and SEEK_HOLE; the kernel does the others.
        guard whence == 3 || whence == 4 else { throw .invalidArgument("whence \(whence)") }
        guard offset >= 0 else { throw .noSuchOffset }
        return .offset(
          try server.volume.content.seek(
            server.inode(number), from: UInt64(offset), whence == 3 ? .data : .hole))
      }
    }
  }

  /// The meaning of fallocate(2)'s flags: KEEP_SIZE 1, PUNCH_HOLE 2, ZERO_RANGE 16.
  private static func allocationMode(_ flags: Int32) throws(FilesystemError) -> AllocationMode {
    switch flags {
    case 0: .plain
    case 1: .keepSize
    case 3: .punchHole
    case 16: .zeroRange
    case 17: .zeroRangeKeepSize
    default: throw .unsupported("fallocate mode \(flags)")
    }
  }
}

extension FuseCallbacks {
  /// Whether a regular file was opened for writing; of anything else it means nothing.
  static func isOpenForWriting(_ file: UnsafeMutablePointer<fuse_file_info>?) -> Bool {
    OpenFile.of(file) != nil
  }
}

/// A file that is open for writing.
private final class OpenFile: Sendable {
  let failures: FailureReader
  /// The kernel lets go of O_APPEND, and of where it writes, when it is asked to; it does not know
  /// which files may but grow.
  let isToAppend: Bool
  /// The kernel may keep what is written: in memory that a program has mapped, or anything.
  let isKept: Bool
  /// Opened with O_DIRECT.
  let isDirect: Bool

  /// Instead of an object's address: open for reading, with O_DIRECT.
  static let directReader: UInt64 = 1

  init(_ failures: FailureReader, isToAppend: Bool, isKept: Bool, isDirect: Bool) {
    self.failures = failures
    self.isToAppend = isToAppend
    self.isKept = isKept
    self.isDirect = isDirect
  }

  var handle: UInt64 { UInt64(UInt(bitPattern: Unmanaged.passRetained(self).toOpaque())) }

  static func of(_ file: UnsafeMutablePointer<fuse_file_info>?) -> Unmanaged<OpenFile>? {
    guard let file, file.pointee.fh != directReader,
      let pointer = UnsafeRawPointer(bitPattern: UInt(file.pointee.fh))
    else { return nil }
    return Unmanaged.fromOpaque(pointer)
  }

  /// Whether the file was opened with O_DIRECT.
  static func isDirect(_ file: UnsafeMutablePointer<fuse_file_info>?) -> Bool {
    file?.pointee.fh == directReader || of(file)?.value.isDirect == true
  }

  /// Whether a write does not come from pages of the kernel's, for a program that has asked for that.
  static func writesDirectly(_ file: UnsafeMutablePointer<fuse_file_info>?) -> Bool {
    guard let file else { return false }
    return file.pointee.flags & cfuse_open_direct() != 0 && file.pointee.writepage == 0
  }
}

extension Unmanaged where Instance == OpenFile {
  fileprivate var value: OpenFile { takeUnretainedValue() }
}

extension FuseServer {
  /// Bytes of one copy within the mount: the answer has 32 bits for them.
  fileprivate static let longestCopy: UInt64 = 1 << 30

  /// The answer to an open: the content in the kernel's memory stays good. But the kernel
  /// does not say what is read from there; where every read is to be noted, it has to forget.
  func opened(_ file: UnsafeMutablePointer<fuse_file_info>?) -> fuse_file_info {
    var file = file?.pointee ?? fuse_file_info()
    file.keep_cache = volume.options.accessTimes == .strict ? 0 : 1
    return file
  }

  /// The answer to the open of a file.
  func opened(
    _ id: InodeID, _ file: UnsafeMutablePointer<fuse_file_info>?
  ) -> fuse_file_info {
    var file = opened(file)
    let isReader = file.flags & O_ACCMODE == O_RDONLY
    let isDirect = file.flags & cfuse_open_direct() != 0
    directHandles.didOpen(id, isDirect: isDirect) { volume.namespace.openCount(of: id) }
    if isReader && isDirect { file.fh = OpenFile.directReader }
    // A reader has written nothing, so it has lost nothing.
    file.noflush = isReader || !reportsAtClose ? 1 : 0
    if !isReader {
      // A page also has bytes before the end, which no program has changed.
      let isToAppend = file.flags & O_APPEND != 0 && !isWrittenByPages
      let isKept = isWrittenByPages || file.flags & O_ACCMODE == O_RDWR
      if isKept { writes.didOpen() }
      let open = OpenFile(
        volume.content.failureReader(of: id), isToAppend: isToAppend, isKept: isKept,
        isDirect: isDirect)
      file.fh = open.handle
    }
    return file
  }

  /// The part of an open that O_TRUNC asks for. The file stays open only when it succeeds.
  fileprivate func truncateAtOpen(
    _ id: InodeID, _ number: fuse_ino_t, _ request: fuse_req_t?
  ) throws(FilesystemError) {
    var changes = AttributeChanges()
    changes.size = 0
    changes.touchesWhenSizeIsSame = true
    do throws(FilesystemError) {
      try dropPrivileges(of: number, for: request, Self.rightInRequest)
      _ = try volume.attributes.setAttributes(id, changes)
    } catch {
      volume.namespace.release(id)
      throw error
    }
  }

  /// The bytes of a write: where libfuse has them, or copied from the pipe that they are in.
  fileprivate func bytes(
    of vector: UnsafeMutablePointer<fuse_bufvec>
  ) throws(FilesystemError) -> UnsafeRawBufferPointer {
    var size = 0
    if let memory = cfuse_memory(vector, &size) {
      return UnsafeRawBufferPointer(start: memory, count: size)
    }
    let buffer = buffers.bytes(fuse_buf_size(vector))
    let count = cfuse_copy(vector, buffer.baseAddress, buffer.count)
    guard count >= 0 else { throw .device(operation: "pipe read", offset: 0, code: Int32(-count)) }
    return UnsafeRawBufferPointer(rebasing: buffer[..<count])
  }
}
