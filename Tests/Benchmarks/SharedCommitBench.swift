import FSCore
import Glibc
import Logging
import TestSupport

/// A device that takes its time to make durable what was written, as real ones do.
final class SlowDevice: BlockDevice {
  private let inner: any BlockDevice
  private let flushMicroseconds: UInt32

  init(_ inner: any BlockDevice, flushMicroseconds: UInt32) {
    self.inner = inner
    self.flushMicroseconds = flushMicroseconds
  }

  var sizeBytes: UInt64 { inner.sizeBytes }

  func read(
    into buffer: UnsafeMutableRawBufferPointer, at address: PhysicalAddress
  ) throws(FilesystemError) { try inner.read(into: buffer, at: address) }

  func write(
    _ bytes: UnsafeRawBufferPointer, at address: PhysicalAddress
  ) throws(FilesystemError) { try inner.write(bytes, at: address) }

  func flush() throws(FilesystemError) { usleep(flushMicroseconds) }
}

/// How well threads that synchronize files of their own share commits.
struct SharedCommitBench {
  struct Result {
    let threads: Int
    /// Calls of all threads in a second.
    let rate: Double
    let callsPerCommit: Double
  }

  static func run(threads: Int, callsEach: Int, flushMicroseconds: UInt32) throws -> Result {
    let memory = MemoryDevice(sizeBytes: 4 << 30)
    _ = try MakeFilesystem.write(to: memory, options: MakeFilesystem.Options())
    var options = VolumeOptions()
    options.commitInterval = 3600
    var logger = Logger(label: "core-bench")
    logger.logLevel = .error
    let volume = try Volume.mount(
      device: SlowDevice(memory, flushMicroseconds: flushMicroseconds), options: options,
      logger: logger)
    let files = try (0..<threads).map {
      try volume.namespace.createNode(
        Array("file-\($0)".utf8), in: volume.rootDirectory, mode: 0o100644,
        Credentials(uid: 0, gid: 0)
      ).id
    }
    try volume.synchronizeAll()

    let first = volume.commitCount
    let start = monotonicSeconds()
    let failures = Guarded<[String]>([], rank: .leaf)
    let workers = files.map { id in
      BackgroundThread {
        let bytes = [UInt8](repeating: 7, count: 4096)
        do {
          for number in 0..<callsEach {
            _ = try bytes.withUnsafeBytes {
              try volume.content.write(id, at: UInt64(number % 64 * 4096), $0)
            }
            try volume.content.synchronize(id, dataOnly: false)
          }
        } catch {
          failures.withLock { $0.append("\(error)") }
        }
      }
    }
    for worker in workers { worker.join() }
    let seconds = monotonicSeconds() - start
    let commits = volume.commitCount - first
    try volume.unmount()
    if let failure = failures.withLock({ $0.first }) { throw TestFailure(failure) }
    let calls = Double(threads * callsEach)
    return Result(threads: threads, rate: calls / seconds, callsPerCommit: calls / Double(commits))
  }
}
