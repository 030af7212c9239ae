import CCodecs

/// The compressors and decompressors that one thread uses at a time, with what they keep between
/// calls.
final class CodecContext: @unchecked Sendable {
  let pointer: OpaquePointer

  init() {
    guard let pointer = ccodecs_context_new() else { fatalError("no memory for compression") }
    self.pointer = pointer
  }

  deinit { ccodecs_context_free(pointer) }
}

/// Contexts that are kept, so that no extent sets up tables anew. Lock rank: `leaf`.
///
/// A context is one thread's from `with` until its body ends. So there are as many as threads that
/// compress or decompress at one moment, and of those that rest no more than `capacity` are kept.
final class CodecContexts: Sendable {
  private let capacity: Int
  private let resting = Guarded<[CodecContext]>([], rank: .leaf)

  init(capacity: Int) { self.capacity = capacity }

  /// How many rest.
  var restingCount: Int { resting.withLock { $0.count } }

  func with<R>(_ body: (CodecContext) -> R) -> R {
    let context = resting.withLock { $0.popLast() } ?? CodecContext()
    let result = body(context)
    resting.withLock { if $0.count < capacity { $0.append(context) } }
    return result
  }
}
