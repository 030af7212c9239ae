import FSCore
import Glibc

/// The programs that wait for the end of this mount, such as `fsmount unmount`: the connections
/// to their sockets.
///
/// A watcher reads `0`, or `1` and a line of text, once the volume is unmounted; then the
/// connection ends with the process. If it ends without that, the process died.
final class UnmountWatchers: Sendable {
  private static let limit = 16

  private let connections = Guarded<[Int32]>([], rank: .leaf)

  /// Connects to the abstract socket whose name is given: its length, then its bytes.
  func add(_ address: UnsafeRawBufferPointer) -> Bool {
    guard let length = address.first, length > 0, Int(length) < address.count else { return false }
    let name = UnsafeRawBufferPointer(rebasing: address[1...Int(length)])

    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Self.connectFlags, 0)
    guard descriptor >= 0 else { return false }
    guard AbstractSocket.withAddress(name, { connect(descriptor, $0, $1) }) == 0 else {
      close(descriptor)
      return false
    }
    return connections.withLock { list in
      Self.dropDead(&list)
      guard list.count < Self.limit else {
        close(descriptor)
        return false
      }
      list.append(descriptor)
      return true
    }
  }

  private static let connectFlags =
    Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)

  private static func dropDead(_ list: inout [Int32]) {
    list.removeAll { descriptor in
      var state = pollfd(fd: descriptor, events: 0, revents: 0)
      let isDead = poll(&state, 1, 0) > 0 && state.revents & Int16(POLLHUP) != 0
      if isDead { close(descriptor) }
      return isDead
    }
  }

  /// Tells all how it ended. The connections stay open until the process has ended.
  func report(_ failure: String?) {
    let text = failure.map { "1\($0)" } ?? "0"
    connections.withLock { list in
      for descriptor in list {
        _ = text.utf8CString.withUnsafeBytes {
          send(descriptor, $0.baseAddress, $0.count - 1, Int32(MSG_NOSIGNAL))
        }
      }
    }
  }
}

enum AbstractSocket {
  /// Runs `body` with the address of the abstract socket `name`, the null byte included.
  static func withAddress(
    _ name: UnsafeRawBufferPointer, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) -> Int32 {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let offset = MemoryLayout<sockaddr_un>.offset(of: \.sun_path)!
    let count = min(name.count, MemoryLayout.size(ofValue: address.sun_path))
    withUnsafeMutableBytes(of: &address) { bytes in
      UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<(offset + count)])
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: name[..<count]))
    }
    return withUnsafePointer(to: address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(offset + count))
      }
    }
  }

  /// A listening socket with a name that the kernel chooses, and that name.
  static func listenAnywhere() -> (descriptor: Int32, name: [UInt8])? {
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let descriptor = socket(AF_UNIX, kind, 0)
    guard descriptor >= 0 else { return nil }

    // An address that is only a family asks for any free abstract name.
    let bound = withAddress(UnsafeRawBufferPointer(start: nil, count: 0)) {
      bind(descriptor, $0, $1)
    }
    var address = sockaddr_un()
    var length = socklen_t(MemoryLayout<sockaddr_un>.size)
    let named = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        getsockname(descriptor, $0, &length)
      }
    }
    let offset = MemoryLayout<sockaddr_un>.offset(of: \.sun_path)!
    guard bound == 0, named == 0, Int(length) > offset, listen(descriptor, 1) == 0 else {
      close(descriptor)
      return nil
    }
    let name = withUnsafeBytes(of: address) { [UInt8]($0[offset..<Int(length)]) }
    return (descriptor, name)
  }
}
