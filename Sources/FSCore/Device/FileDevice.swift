import CCodecs
import Glibc
import Synchronization

/// A regular file or block device, locked against other writers while this object lives.
package final class FileDevice: BlockDevice {
  package let path: String
  private let currentSize: Atomic<UInt64>
  private let isBlockDevice: Bool
  package var sizeBytes: UInt64 { currentSize.load(ordering: .acquiring) }
  package let isReadOnly: Bool
  private let descriptor: Int32

  /// Opens and locks `path`.
  ///
  /// - Parameter waitSeconds: how long to wait for one who holds the lock, a mount that is
  ///   finishing for instance. A read-only opening shares the lock with other readers.
  package init(path: String, readOnly: Bool, waitSeconds: Double = 0) throws(FilesystemError) {
    self.path = path
    self.isReadOnly = readOnly

    var status = stat()
    guard stat(path, &status) == 0 else {
      throw .cannotMount("\(path): \(String(cString: strerror(Glibc.errno)))")
    }
    let kind = status.st_mode & S_IFMT
    guard kind == S_IFREG || kind == S_IFBLK else {
      throw .cannotMount("\(path) is neither a regular file nor a block device")
    }

    isBlockDevice = kind == S_IFBLK
    // O_EXCL on a block device fails while the kernel has it mounted.
    var flags = (readOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC
    if kind == S_IFBLK && !readOnly { flags |= O_EXCL }
    descriptor = open(path, flags)
    guard descriptor >= 0 else {
      let code = Glibc.errno
      let hint =
        switch code {
        case EACCES:
          readOnly ? "; you may not read it" : "; you may not write it: mount it with -o ro"
        case EROFS: "; mount it with -o ro"
        case EBUSY: "; it is in use, perhaps mounted by the kernel"
        default: ""
        }
      throw .cannotMount("\(path): \(String(cString: strerror(code)))\(hint)")
    }

    guard Self.lock(descriptor, exclusive: !readOnly, waitSeconds: waitSeconds) else {
      close(descriptor)
      throw .busy("\(path) is in use: another fsmount has it open; unmount it first")
    }

    // Also right for block devices, whose st_size is 0.
    let end = lseek(descriptor, 0, SEEK_END)
    guard end >= 0 else {
      let code = Glibc.errno
      close(descriptor)
      throw .cannotMount("\(path): \(String(cString: strerror(code)))")
    }
    currentSize = Atomic(UInt64(end))
  }

  /// Lets others read, too: for an image that turned out to be readable only.
  package func shareLock() { flock(descriptor, LOCK_SH | LOCK_NB) }

  deinit {
    // A process that is just being started has a copy of the descriptor, which would keep the
    // lock a moment longer.
    flock(descriptor, LOCK_UN)
    close(descriptor)
  }

  private static func lock(_ descriptor: Int32, exclusive: Bool, waitSeconds: Double) -> Bool {
    let operation = (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB
    var waited = 0.0
    while true {
      if flock(descriptor, operation) == 0 { return true }
      guard Glibc.errno == EWOULDBLOCK || Glibc.errno == EINTR, waited < waitSeconds else {
        return false
      }
      usleep(20_000)
      waited += 0.02
    }
  }

  package func read(
    into buffer: UnsafeMutableRawBufferPointer, at address: PhysicalAddress
  ) throws(FilesystemError) {
    try check("read", address, buffer.count)
    var done = 0
    while done < buffer.count {
      let count = pread(
        descriptor, buffer.baseAddress! + done, buffer.count - done,
        off_t(address.rawValue) + off_t(done))
      if count > 0 {
        done += count
      } else if count == 0 {
        // The file became shorter under us.
        throw .device(operation: "read", offset: address.rawValue + UInt64(done), code: EIO)
      } else if Glibc.errno != EINTR {
        throw .device(
          operation: "read", offset: address.rawValue + UInt64(done), code: Glibc.errno)
      }
    }
  }

  package func expectRead(_ length: Int, at address: PhysicalAddress) {
    posix_fadvise(descriptor, off_t(clamping: address.rawValue), length, POSIX_FADV_WILLNEED)
  }

  package func write(
    _ bytes: UnsafeRawBufferPointer, at address: PhysicalAddress
  ) throws(FilesystemError) {
    try check("write", address, bytes.count)
    var done = 0
    while done < bytes.count {
      let count = pwrite(
        descriptor, bytes.baseAddress! + done, bytes.count - done,
        off_t(address.rawValue) + off_t(done))
      if count >= 0 {
        done += count
      } else if Glibc.errno != EINTR {
        throw failure(ofWriteAt: address.rawValue + UInt64(done), code: Glibc.errno)
      }
    }
  }

  /// A block device says ENOSPC of what is behind its end. One that lacks room inside, as thinly
  /// provisioned ones may, says so when it is flushed, and has lost what was written by then.
  private func failure(ofWriteAt offset: UInt64, code: Int32) -> FilesystemError {
    isBlockDevice
      ? .device(operation: "write", offset: offset, code: code)
      : .writing(at: offset, code: code)
  }

  package func write(
    _ pieces: [UnsafeRawBufferPointer], at address: PhysicalAddress
  ) throws(FilesystemError) {
    try check("write", address, pieces.reduce(0) { $0 + $1.count })
    let vectors = pieces.map {
      iovec(iov_base: UnsafeMutableRawPointer(mutating: $0.baseAddress), iov_len: $0.count)
    }
    var done = max(
      pwritev(descriptor, vectors, Int32(vectors.count), off_t(address.rawValue)), 0)

    // What that has not taken is written piece by piece, which finds out why, too.
    var address = address
    for piece in pieces {
      if done < piece.count {
        try write(piece.part(done, piece.count - done), at: address + UInt64(done))
      }
      done = max(done - piece.count, 0)
      address = address + UInt64(piece.count)
    }
  }

  /// A file gets a hole there, a block device is told that the range is unused.
  package func discard(
    _ length: UInt64, at address: PhysicalAddress
  ) throws(FilesystemError) {
    try check("discard", address, Int(clamping: length))
    while ccodecs_punch_hole(descriptor, address.rawValue, length) != 0 {
      switch Glibc.errno {
      case EINTR: continue
      case EOPNOTSUPP:
        throw .unsupported("\(path) stands on a file system or device that cannot trim")
      default: throw .device(operation: "discard", offset: address.rawValue, code: Glibc.errno)
      }
    }
  }

  package func resize(to bytes: UInt64) throws(FilesystemError) {
    if isBlockDevice {
      let end = lseek(descriptor, 0, SEEK_END)
      guard end >= 0 else { throw .device(operation: "resize", offset: bytes, code: Glibc.errno) }
      currentSize.store(UInt64(end), ordering: .releasing)
      guard bytes <= UInt64(end) else {
        throw .invalidArgument(
          "\(path) has \(end) bytes; a block device cannot be made longer here")
      }
      return
    }
    guard bytes <= UInt64(Int64.max) else {
      throw .invalidArgument("a file of \(bytes) bytes there cannot be")
    }
    // The part that is cut off is not to be read any more; a part that is added can be at once.
    if bytes < sizeBytes { currentSize.store(bytes, ordering: .releasing) }
    while ftruncate(descriptor, off_t(bytes)) != 0 {
      let code = Glibc.errno
      if code == EINTR { continue }
      throw .device(operation: "resize", offset: bytes, code: code)
    }
    currentSize.store(bytes, ordering: .releasing)
  }

  package func flush() throws(FilesystemError) {
    while fdatasync(descriptor) != 0 {
      if Glibc.errno != EINTR { throw .device(operation: "flush", offset: 0, code: Glibc.errno) }
    }
  }
}
