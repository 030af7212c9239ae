import CFuse
import FSCore
import Glibc
import Logging

/// What a request is answered with.
enum FuseAnswer {
  case done
  case entry(fuse_entry_param)
  case created(fuse_entry_param, fuse_file_info)
  /// With how long the kernel may believe them.
  case attributes(stat, seconds: Double)
  case opened(fuse_file_info)
  /// Bytes that stay valid until the answer is sent.
  case data(UnsafeRawBufferPointer)
  case bytes([UInt8])
  /// How many bytes were written.
  case written(Int)
  /// How many bytes an extended attribute, or the list of them, has.
  case size(Int)
  /// The target of a symbolic link.
  case target([UInt8])
  case offset(UInt64)
  case statistics(statvfs)
  /// The result of an ioctl, a negative errno among them, with the bytes that it hands out in any case.
  case control([UInt8], status: Int32 = 0)
  case failure(Int32)
}

/// The right, and the duty, to answer one request: `send` uses it up, and a request that is
/// dropped without is answered with EIO.
struct FuseReply: ~Copyable {
  private let request: fuse_req_t

  init(_ request: fuse_req_t) { self.request = request }

  deinit { fuse_reply_err(request, EIO) }

  consuming func send(_ answer: FuseAnswer) {
    // What these functions return says that the kernel no longer waits for the answer: nobody
    // is left to be told.
    switch answer {
    case .done:
      fuse_reply_err(request, 0)
    case .entry(var entry):
      fuse_reply_entry(request, &entry)
    case .created(var entry, var file):
      fuse_reply_create(request, &entry, &file)
    case .attributes(var status, let seconds):
      fuse_reply_attr(request, &status, seconds)
    case .opened(var file):
      fuse_reply_open(request, &file)
    case .data(let bytes):
      Self.send(bytes, to: request)
    case .bytes(let bytes):
      bytes.withUnsafeBytes { Self.send($0, to: request) }
    case .written(let count):
      fuse_reply_write(request, count)
    case .size(let size):
      fuse_reply_xattr(request, size)
    case .target(let target):
      (target + [0]).withUnsafeBufferPointer { bytes in
        bytes.withMemoryRebound(to: CChar.self) {
          _ = fuse_reply_readlink(request, $0.baseAddress)
        }
      }
    case .offset(let offset):
      fuse_reply_lseek(request, off_t(clamping: offset))
    case .statistics(var statistics):
      fuse_reply_statfs(request, &statistics)
    case .control(let bytes, let status):
      _ = bytes.withUnsafeBytes { fuse_reply_ioctl(request, status, $0.baseAddress, $0.count) }
    case .failure(let code):
      fuse_reply_err(request, code)
    }
    discard self
  }

  private static func send(_ bytes: UnsafeRawBufferPointer, to request: fuse_req_t) {
    fuse_reply_buf(request, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count)
  }
}

/// An answer that is sent later, and no later than this object ends.
final class LateAnswer: @unchecked Sendable {
  /// Nil when it was sent. Whoever has this object hands it over as a whole.
  private var request: fuse_req_t?
  /// Not one that refers to memory of the request.
  private let answer: FuseAnswer

  init(_ request: fuse_req_t, _ answer: FuseAnswer) {
    self.request = request
    self.answer = answer
  }

  deinit { send() }

  func send() {
    guard let request else { return }
    self.request = nil
    FuseReply(request).send(answer)
  }
}

extension FuseServer {
  /// Whether a request that has made `changes` is answered when the kernel knows of them; if there are
  /// too many of those, at once.
  static func mayAnswerLater(_ changes: UnaskedChanges) -> Bool {
    !changes.hasContent && changes.names.isEmpty || cfuse_may_answer_later()
  }

  /// Memory for what a request reads: that from which the kernel takes the answer, or this thread's.
  func answerBuffer(_ size: Int) -> UnsafeMutableRawBufferPointer {
    guard let memory = cfuse_answer_memory(size) else { return buffers.bytes(size) }
    return UnsafeMutableRawBufferPointer(start: memory, count: size)
  }

  /// Answers `request` with what `body` returns, or with its error's number.
  @inline(__always)
  static func answer(
    _ request: fuse_req_t?, _ operation: FuseOperation,
    _ body: (FuseServer) throws(FilesystemError) -> FuseAnswer
  ) {
    guard let request else { return }
    let reply = FuseReply(request)
    reply.send(outcome(of: request, operation, body))
  }

  /// As `answer`, for what changes a file's size or content beside the bytes that the kernel sends. When
  /// it fails halfway the kernel takes the file to be as it was, so it is told afterwards to ask anew:
  /// not before the answer, as it sends nothing of a file that is being cut.
  static func answerChange(
    of number: fuse_ino_t, _ request: fuse_req_t?, _ operation: FuseOperation,
    _ body: (FuseServer) throws(FilesystemError) -> FuseAnswer
  ) {
    guard let request else { return }
    let server = FuseCallbacks.server(of: request)
    let answer = outcome(of: request, operation, body)
    FuseReply(request).send(answer)
    if isHalfway(answer) { server.notices.add(contentOf: number) }
  }

  /// As `answerChange`, for fallocate(2), which cuts nothing: a program that is told of a failure finds
  /// the file as it is.
  static func answerAllocation(
    of number: fuse_ino_t, _ request: fuse_req_t?,
    _ body: (FuseServer) throws(FilesystemError) -> FuseAnswer
  ) {
    guard let request else { return }
    let server = FuseCallbacks.server(of: request)
    let answer = outcome(of: request, .fallocate, body)
    guard isHalfway(answer) else { return FuseReply(request).send(answer) }
    server.notices.answer(request, answer, withoutContentOf: number)
  }

  private static func isHalfway(_ answer: FuseAnswer) -> Bool {
    guard case .failure(let code) = answer else { return false }
    return [ENOSPC, EIO, EROFS].contains(code)
  }

  /// What `request` is to be answered with.
  @inline(__always)
  static func outcome(
    of request: fuse_req_t, _ operation: FuseOperation,
    _ body: (FuseServer) throws(FilesystemError) -> FuseAnswer
  ) -> FuseAnswer {
    let server = Unmanaged<FuseServer>.fromOpaque(fuse_req_userdata(request)).takeUnretainedValue()
    server.requests.note(operation)
    do throws(FilesystemError) {
      return try body(server)
    } catch {
      server.noteFailure(of: operation, error)
      return .failure(error.errno)
    }
  }

  /// Logs what is no ordinary outcome.
  private func noteFailure(of operation: FuseOperation, _ error: FilesystemError) {
    switch error {
    case .device, .checksum, .onOtherDevice, .corrupt:
      log.error("\(operation): \(error)")
    default:
      break
    }
  }
}
