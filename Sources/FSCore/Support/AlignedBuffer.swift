import Glibc

/// Bytes aligned to a page, owned by one object; what IO goes to and comes from.
package final class AlignedBuffer: @unchecked Sendable {
  package let bytes: UnsafeMutableRawBufferPointer

  /// The content is not initialised.
  package init(count: Int) {
    bytes = UnsafeMutableRawBufferPointer(start: PageMemory.shared.take(count), count: count)
  }

  package convenience init(zeroed count: Int) {
    self.init(count: count)
    bytes.zero()
  }

  package var count: Int { bytes.count }

  package var readable: UnsafeRawBufferPointer { UnsafeRawBufferPointer(bytes) }

  deinit { PageMemory.shared.giveBack(bytes.baseAddress!, count) }
}
