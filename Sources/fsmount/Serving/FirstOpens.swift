import CFuse
import FSCore

/// Hands the content of small files to the kernel when they are opened, so that it need not ask.
///
/// 1. Only at an inode's first open since the kernel knows it: it has no page of the file then, and
///    there is none that a program may have changed.
/// 2. Another open of the inode is answered after that: no program can change a page before, nor wait
///    with a page locked for an answer, while the kernel waits for that page.
/// 3. The file's content does not change meanwhile, by its name neither: what the kernel is told to
///    cut off it cuts off afterwards. Who waits for that holds no page, which the kernel would wait for.
/// 4. Nobody can see it: not where a read would be noted in the file. An error shows when it is read.
/// 5. Only with a kernel that zeroes what stands behind the end of the file in its last page. Linux 6.11
///    does, and older ones with a mend that the protocol does not tell of.
///
/// Lock rank: `leaf`.
final class FirstOpens: Sendable {
  /// A request for more costs little beside its bytes.
  static let largestFile = 16 << 10

  /// Of the protocol of Linux 6.12: 6.11 shares its own with Linux 6.10.
  static let oldestProtocol: (UInt32, UInt32) = (7, 41)

  /// Those that are on their way.
  private let underWay = Guarded<Set<InodeID>>([], rank: .leaf)

  /// For an open of `id`, which is not answered yet. Calls `body` when it is the first.
  func during(_ id: InodeID, of namespace: Namespace, _ body: () -> Void) {
    underWay.when({ !$0.contains(id) }) { _ = $0.insert(id) }
    if namespace.noteOpen(id) { body() }
    underWay.update { _ = $0.remove(id) }
  }
}

extension FuseServer {
  /// For an open that is not answered yet.
  func giveContent(
    of id: InodeID, _ number: fuse_ino_t, to file: UnsafeMutablePointer<fuse_file_info>?
  ) {
    let flags = file?.pointee.flags ?? 0
    // Who does not want to wait for an open asks for something else than content.
    let others = O_TRUNC | O_NONBLOCK | cfuse_open_direct()
    firstOpens.during(id, of: volume.namespace) {
      guard kernelTakesContent, flags & O_ACCMODE != O_WRONLY, flags & others == 0,
        volume.options.accessTimes != .strict
      else { return }

      let buffer = buffers.bytes(FirstOpens.largestFile)
      _ = try? volume.content.readAhead(id, into: buffer) { count in
        var vector = fuse_bufvec()
        vector.count = 1
        vector.buf.size = count
        vector.buf.mem = buffer.baseAddress
        // Of an error the kernel asks for the content.
        fuse_lowlevel_notify_store(session, number, 0, &vector, fuse_buf_copy_flags(0))
      }
    }
  }
}
