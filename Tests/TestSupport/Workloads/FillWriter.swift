import Glibc

/// One thread of `FillWorkload`.
final class FillWriter {
  private let workload: FillWorkload
  private let index: Int
  private let round: Int
  private var random: SeededRandom
  private let buffer: UnsafeMutableRawBufferPointer
  var counts = FillWorkload.Counts()

  private static let page = 4096

  init(_ workload: FillWorkload, index: Int, round: Int) {
    self.workload = workload
    self.index = index
    self.round = round
    random = SeededRandom(seed: workload.options.seed &* 1_000_003 &+ UInt64(round * 64 + index))
    buffer = UnsafeMutableRawBufferPointer.allocate(
      byteCount: workload.options.largest + 2 * Self.page, alignment: Self.page)
  }

  deinit { buffer.deallocate() }

  /// The bytes of a file, none of them zero.
  static func content(_ seed: UInt64, into buffer: UnsafeMutableRawBufferPointer) {
    var random = SeededRandom(seed: seed)
    random.fillNonZero(buffer)
  }

  /// Makes files until the volume has refused some; tells each that is there.
  func run(_ keep: (FillWorkload.Model) -> Void) throws {
    var number = 0
    while counts.refusals < workload.options.refusals, number < 100_000 {
      let path = workload.folder(index).appending("r\(round)-\(number)")
      number += 1
      if let model = try makeFile(path) { keep(model) }
    }
  }

  /// Takes note of a refusal for want of space; throws all other errors.
  private func refuse(_ what: String, _ result: Int) throws {
    guard result == -Int(ENOSPC) else { throw SystemError(what: what, code: Int32(-result)) }
    counts.refusals += 1
  }

  private func makeFile(_ path: BytePath) throws -> FillWorkload.Model? {
    let options = workload.options
    let isDirect = options.direct > 0 && random.oneIn(options.direct)
    var length = random.below(options.largest + 1)
    if random.oneIn(4) { length = min(length, random.below(3000)) }
    if isDirect { length = (length + Self.page - 1) / Self.page * Self.page }
    var model = FillWorkload.Model(path: path, seed: random.next(), accepted: 0, size: 0)

    let flags = O_CREAT | O_EXCL | O_WRONLY | (isDirect ? Linux.openDirect : 0)
    let descriptor = outcome { path.withCPath { open($0, flags, 0o644) } }
    guard descriptor >= 0 else {
      try refuse("create \(path)", descriptor)
      return nil
    }
    let file = Int32(descriptor)
    defer { close(file) }
    counts.files += 1

    var isPreallocated = false
    if options.preallocated > 0, random.oneIn(options.preallocated), length > 0 {
      let result = outcome { Linux.fallocate(file, 0, 0, length) }
      if result < 0 {
        try refuse("fallocate \(path)", result)
      } else {
        isPreallocated = true
        model.size = length
      }
    }
    try write(&model, length, to: file, isDirect, isPreallocated)
    if random.oneIn(options.synchronized) {
      // Whatever was accepted, fsync must not say that there is no space.
      try check("fsync \(path)") { fsync(file) }
    }
    counts.bytes += model.accepted
    return model
  }

  private func write(
    _ model: inout FillWorkload.Model, _ length: Int, to file: Int32, _ isDirect: Bool,
    _ isPreallocated: Bool
  ) throws {
    Self.content(model.seed, into: buffer)
    while model.accepted < length {
      var part = min(length - model.accepted, 1 + random.below(1 << 20))
      if isDirect {
        part = min(length - model.accepted, (part + Self.page - 1) / Self.page * Self.page)
      }
      let start = model.accepted
      let result = outcome { pwrite(file, buffer.baseAddress! + start, part, start) }
      guard result > 0 else {
        try refuse("write \(model.path)", result)
        if isPreallocated { counts.refusedInPreallocated += 1 }
        return
      }
      model.accepted += result
      model.size = max(model.size, model.accepted)
      // Again where it is on its way, perhaps.
      if isPreallocated, random.oneIn(3) {
        let again = outcome { pwrite(file, buffer.baseAddress! + start, result, start) }
        if again < 0 { try refuse("write \(model.path) again", again) }
      }
    }
  }

  /// Writes a page or some of a file again. There is room for that.
  func overwrite(_ model: FillWorkload.Model) throws {
    Self.content(model.seed, into: buffer)
    let start = random.below(model.accepted)
    let length = min(model.accepted - start, 1 + random.below(20_000))
    let file = try check("open \(model.path)") { model.path.withCPath { open($0, O_WRONLY) } }
    defer { close(file) }
    let count = try check("overwrite \(length) bytes of \(model.path) with room") {
      pwrite(file, buffer.baseAddress! + start, length, start)
    }
    guard count == length else {
      throw TestFailure(
        "\(model.path): \(count) of \(length) bytes were written, with room for all")
    }
  }
}
