import Glibc

/// What can go wrong, with what is needed to say so. `errno` is the one place where it
/// becomes a number.
package enum FilesystemError: Error, Equatable, Sendable {
  // The device and what stands on it.

  /// A read, write or flush failed with `code`, at `offset` of the device.
  case device(operation: StaticString, offset: UInt64, code: Int32)

  /// What the image stands on has no room for a write: a full disk, a quota or a limit. What stood
  /// there is as it was, and the same write may succeed later.
  case noRoom(offset: UInt64, code: Int32)

  /// Bytes that do not have the checksum they should have, in every copy there is.
  case checksum(what: String, address: UInt64)

  /// Of several devices only one is open, and no whole copy of what stands here is on it.
  case onOtherDevice(LogicalAddress)

  /// A structure that breaks a rule of the format.
  case corrupt(String)

  // The volume as a whole.

  case noSpace
  case readOnly(String)
  /// A commit failed; the volume is read-only for good.
  case aborted
  /// The volume was shut down: nothing can be done on it but to unmount it.
  case shutDown
  /// The image cannot be mounted in the way that was asked for; the text says why and what to do.
  case cannotMount(String)
  case unsupported(String)

  // What was asked for.

  case invalidArgument(String)
  case notFound
  case exists
  case notDirectory
  case isDirectory
  case notEmpty
  case nameTooLong
  case tooManyLinks
  case crossSubvolume
  case notPermitted
  /// Not permitted, for a reason that a user can do something about.
  case refused(String)
  case accessDenied
  case noAttribute
  case bufferTooSmall
  case attributeTooLarge
  case fileTooLarge
  case noSuchOffset
  case stale
  case busy(String)
  case overflow
  case wouldLoop
  case readFromDirectory

  package static func == (a: FilesystemError, b: FilesystemError) -> Bool {
    String(describing: a) == String(describing: b)
  }
}

extension FilesystemError {
  /// What a write to a regular file has failed with.
  package static func writing(at offset: UInt64, code: Int32) -> Self {
    switch code {
    case ENOSPC, EDQUOT, EFBIG: .noRoom(offset: offset, code: code)
    default: .device(operation: "write", offset: offset, code: code)
    }
  }

  package var errno: Int32 {
    switch self {
    case .device, .checksum, .onOtherDevice, .shutDown: EIO
    case .corrupt: EUCLEAN
    case .noSpace, .noRoom: ENOSPC
    case .readOnly, .aborted: EROFS
    case .cannotMount, .invalidArgument, .wouldLoop: EINVAL
    case .unsupported: EOPNOTSUPP
    case .notFound: ENOENT
    case .exists: EEXIST
    case .notDirectory: ENOTDIR
    case .isDirectory, .readFromDirectory: EISDIR
    case .notEmpty: ENOTEMPTY
    case .nameTooLong: ENAMETOOLONG
    case .tooManyLinks: EMLINK
    case .crossSubvolume: EXDEV
    case .notPermitted, .refused: EPERM
    case .accessDenied: EACCES
    case .noAttribute: ENODATA
    case .bufferTooSmall: ERANGE
    case .attributeTooLarge: ENOSPC
    case .fileTooLarge: EFBIG
    case .noSuchOffset: ENXIO
    case .stale: ESTALE
    case .busy: EBUSY
    case .overflow: EOVERFLOW
    }
  }
}

extension FilesystemError {
  /// Whether something could not be read, or was not what it should be: what stands elsewhere may be
  /// whole.
  package var isDamage: Bool {
    switch self {
    case .corrupt, .checksum, .device, .onOtherDevice: true
    default: false
    }
  }
}

extension FilesystemError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .device(let operation, let offset, let code):
      "\(operation) at device offset \(offset) failed: \(String(cString: strerror(code)))"
    case .noRoom(let offset, let code):
      "what the image stands on has no room for a write at device offset \(offset): "
        + String(cString: strerror(code))
    case .checksum(let what, let address): "\(what) at \(address): the checksum does not match"
    case .onOtherDevice(let address):
      "what stands at \(address) is wholly or partly on other devices; fsmount reads only one"
    case .corrupt(let rule): "damaged file system: \(rule)"
    case .noSpace: "no space left"
    case .readOnly(let why): "read-only: \(why)"
    case .shutDown: "the file system was shut down"
    case .aborted: "the file system is read-only since a commit failed"
    case .cannotMount(let why), .unsupported(let why), .invalidArgument(let why), .busy(let why),
      .refused(let why):
      why
    case .notFound, .exists, .notDirectory, .isDirectory, .notEmpty, .nameTooLong, .tooManyLinks,
      .crossSubvolume, .notPermitted, .accessDenied, .noAttribute, .bufferTooSmall,
      .attributeTooLarge, .fileTooLarge, .noSuchOffset, .stale, .overflow, .wouldLoop,
      .readFromDirectory:
      String(cString: strerror(errno))
    }
  }
}
