import FSCore
import Glibc

/// A buffer for each thread that answers requests, kept from one request to the next.
struct ThreadBuffer: Sendable {
  private let key: pthread_key_t
  private let standardSize: Int

  /// - Parameter standardSize: what all but unusual requests fit in.
  init(standardSize: Int) {
    var key = pthread_key_t()
    let code = pthread_key_create(&key) { object in
      Unmanaged<AlignedBuffer>.fromOpaque(object!).release()
    }
    precondition(code == 0, "no thread-specific keys left")
    self.key = key
    self.standardSize = standardSize
  }

  /// At least `size` bytes, this thread's until it asks again.
  func bytes(_ size: Int) -> UnsafeMutableRawBufferPointer {
    if let object = pthread_getspecific(key) {
      let buffer = Unmanaged<AlignedBuffer>.fromOpaque(object)
      let bytes = buffer._withUnsafeGuaranteedRef { $0.bytes }
      if bytes.count >= size { return UnsafeMutableRawBufferPointer(rebasing: bytes[..<size]) }
      buffer.release()
    }
    let buffer = AlignedBuffer(count: max(size, standardSize))
    pthread_setspecific(key, Unmanaged.passRetained(buffer).toOpaque())
    return UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<size])
  }
}
