import Glibc

/// Linux's asynchronous IO (io_submit(2)): one write at a time. Glibc's aio_write(3) is a thread that
/// waits in pwrite(2), which the kernel serves in another way.
package final class AsynchronousWriter {
  private typealias Call3 = @Sendable @convention(c) (Int, Int, UnsafeMutableRawPointer) -> Int
  private typealias Call4 =
    @Sendable @convention(c) (Int, Int, Int, UnsafeMutableRawPointer) -> Int
  private typealias Call6 =
    @Sendable @convention(c) (Int, Int, Int, Int, UnsafeMutableRawPointer, Int) -> Int

  private static let setUp: Call3 = Linux.symbol("syscall")
  private static let submit: Call4 = Linux.symbol("syscall")
  private static let getEvents: Call6 = Linux.symbol("syscall")

  #if arch(x86_64)
    private static let (setUpNumber, destroyNumber) = (206, 207)
    private static let (getEventsNumber, submitNumber) = (208, 209)
  #else
    private static let (setUpNumber, destroyNumber) = (0, 1)
    private static let (submitNumber, getEventsNumber) = (2, 4)
  #endif

  private let context: Int

  package init() throws {
    var context = 0
    try check("io_setup") { Int32(Self.setUp(Self.setUpNumber, 1, &context)) }
    self.context = context
  }

  deinit {
    var nothing = 0
    _ = Self.setUp(Self.destroyNumber, context, &nothing)
  }

  /// Writes `bytes`; returns when the kernel says that it is done.
  package func write(
    _ descriptor: Int32, at offset: Int, _ bytes: UnsafeRawBufferPointer
  ) throws -> Int {
    // struct iocb: its operation (1 is a write) and the file in the third word.
    var block = [UInt64](repeating: 0, count: 8)
    block[2] = 1 | UInt64(UInt32(bitPattern: descriptor)) << 32
    block[3] = UInt64(UInt(bitPattern: bytes.baseAddress))
    block[4] = UInt64(bytes.count)
    block[5] = UInt64(offset)
    // struct io_event, whose third word is the result.
    var event = [Int](repeating: 0, count: 4)
    try block.withUnsafeMutableBytes { block in
      var pointer = UInt(bitPattern: block.baseAddress)
      try check("io_submit") { Int32(Self.submit(Self.submitNumber, context, 1, &pointer)) }
      try check("io_getevents") {
        Int32(Self.getEvents(Self.getEventsNumber, context, 1, 1, &event, 0))
      }
    }
    return event[2]
  }
}
