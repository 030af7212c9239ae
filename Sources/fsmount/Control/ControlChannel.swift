import FSCore
import Glibc

/// The way from a command to the process that serves a mount: an ioctl on a file or directory of it.
struct ControlChannel: ~Copyable {
  private let path: String
  /// What the mount's refusals are about, where that is not `path`.
  private let subject: String
  private let descriptor: Int32

  /// - Parameters:
  ///   - path: of anything in the mount.
  ///   - subject: what refusals are about, where that is not the path.
  init(_ path: String, about subject: String? = nil) throws(CommandFailure) {
    self.path = path
    self.subject = subject ?? path
    descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else { throw CommandFailure.cannotOpen(path, errno) }
  }

  /// A channel by what is open already; `descriptor` is closed with it.
  init(_ path: String, closing descriptor: Int32) {
    self.path = path
    subject = path
    self.descriptor = descriptor
  }

  deinit { close(descriptor) }

  /// Asks, and waits for the whole answer. Throws what the mount says when it refuses.
  func ask<Call: ControlCall>(_ call: Call) throws(CommandFailure) -> Call.Answer {
    let text = ControlJSON.encode(ControlRequest(call: call))
    guard text.count <= ControlFrame.mostText else {
      throw CommandFailure("the request is too long", status: .usage)
    }
    var frame = try exchange(ControlFrame(text: text))
    var answer = frame.text
    while frame.token != 0 {
      frame = try exchange(ControlFrame(moreOf: frame.token, from: answer.count))
      answer += frame.text
    }
    do throws(ControlFailure) {
      let decoded = try ControlJSON.decode(ControlAnswer<Call.Answer>.self, from: answer)
      if let result = decoded.result, decoded.ok { return result }
      throw ControlFailure(decoded.error ?? "it does not say why", decoded.errno ?? "EIO")
    } catch {
      throw CommandFailure("\(subject): \(error)", code: error.errno)
    }
  }

  private func exchange(_ frame: ControlFrame) throws(CommandFailure) -> ControlFrame {
    var buffer = frame.bytes
    buffer += [UInt8](repeating: 0, count: ControlFrame.size - buffer.count)
    var status: Int32 = 0
    repeat {
      status = buffer.withUnsafeMutableBytes {
        ioctl(descriptor, ControlCommand.exchange, $0.baseAddress!)
      }
    } while status != 0 && errno == EINTR
    guard status == 0 else {
      let code = errno
      switch code {
      case ENOTTY, EINVAL, EOPNOTSUPP: throw CommandFailure.notInMount(path)
      default: throw CommandFailure.cannotOpen(path, code)
      }
    }
    do throws(ControlFailure) {
      return try buffer.withUnsafeBytes { bytes in
        Result { () throws(ControlFailure) in try ControlFrame(bytes) }
      }.get()
    } catch {
      throw CommandFailure("\(path): \(error)")
    }
  }
}
