import CFuse
import Glibc

/// How the process that serves a mount stands to the one that was started.
///
/// In the background it is a child, which goes on while its parent ends as soon as it is known
/// whether the mount serves requests.
final class Background: Sendable {
  /// Where the byte goes that lets the parent end; -1 in the foreground.
  private let pipe: Int32

  /// The process stays where it is.
  static func stay() -> Background { Background(pipe: -1) }

  /// Forks; returns in the child. The parent waits and ends: with status 0 after `ready`, else
  /// with the child's. Must be called before there is a second thread.
  static func fork() throws(CommandFailure) -> Background {
    var ends: [Int32] = [-1, -1]
    guard cfuse_pipe(&ends) == 0 else {
      throw CommandFailure("pipe: \(String(cString: strerror(errno)))", status: .system)
    }
    let child = cfuse_fork()
    guard child >= 0 else {
      throw CommandFailure("fork: \(String(cString: strerror(errno)))", status: .system)
    }
    if child > 0 {
      close(ends[1])
      exit(parentStatus(child, ends[0]))
    }
    close(ends[0])
    setsid()
    chdir("/")
    return Background(pipe: ends[1])
  }

  private init(pipe: Int32) { self.pipe = pipe }

  private static func parentStatus(_ child: pid_t, _ pipe: Int32) -> Int32 {
    var byte: UInt8 = 0
    while true {
      let count = read(pipe, &byte, 1)
      if count == 1 { return 0 }
      if count == 0 || errno != EINTR { break }
    }
    // The pipe was closed without a word: the child is ending, and has said why.
    var status: Int32 = 0
    while waitpid(child, &status, 0) < 0, errno == EINTR {}
    let signal = status & 0x7f
    guard signal == 0 else {
      StandardError.write("fsmount: ended by signal \(signal) before the mount served requests")
      return CommandFailure.Status.failed.rawValue
    }
    let code = status >> 8 & 0xff
    return code == 0 ? CommandFailure.Status.failed.rawValue : code
  }

  /// Called once, when the mount serves requests. In the background it lets go of the terminal
  /// and of the parent: messages go to the system log from now on, as those of `name`.
  func ready(name: String) {
    guard pipe >= 0 else { return }
    MountLog.detach(as: name)

    let null = open("/dev/null", O_RDWR | O_CLOEXEC)
    if null >= 0 {
      for descriptor in 0...Int32(2) { dup2(null, descriptor) }
      if null > 2 { close(null) }
    }
    var byte: UInt8 = 0
    while write(pipe, &byte, 1) < 0, errno == EINTR {}
    close(pipe)
  }
}
