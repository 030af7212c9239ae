import Glibc
import TestSupport
import Testing

extension MountTests {
  /// Every sequence of three operations on a file, out of some that matter for how its data is
  /// kept: inline, in extents, preallocated, or not at all. Each has a file of its own.
  @Suite(.timeLimit(.minutes(5))) struct ShortSequenceTests {
    enum Step: CustomStringConvertible {
      case write(Int, Int)
      case allocate(Int, Int, keepSize: Bool)
      case punch(Int, Int)
      case zero(Int, Int, keepSize: Bool)
      case truncate(Int)

      var description: String {
        switch self {
        case .write(let offset, let length): "w\(offset)+\(length)"
        case .allocate(let offset, let length, let keep): "a\(keep ? "k" : "")\(offset)+\(length)"
        case .punch(let offset, let length): "p\(offset)+\(length)"
        case .zero(let offset, let length, let keep): "z\(keep ? "k" : "")\(offset)+\(length)"
        case .truncate(let size): "t\(size)"
        }
      }

      /// On a file, and on what it should then hold.
      func apply(to descriptor: Int32, _ model: inout [UInt8], _ mark: UInt8) throws {
        func grow(_ size: Int) {
          if size > model.count {
            model += [UInt8](repeating: 0, count: size - model.count)
          }
        }
        func fill(_ offset: Int, _ length: Int, _ byte: UInt8) {
          let end = min(offset + length, model.count)
          for index in min(offset, end)..<end { model[index] = byte }
        }
        switch self {
        case .write(let offset, let length):
          let bytes = [UInt8](repeating: mark, count: length)
          try check("pwrite") { pwrite(descriptor, bytes, length, offset) }
          grow(offset + length)
          fill(offset, length, mark)
        case .allocate(let offset, let length, let keep):
          let mode = keep ? Linux.fallocateKeepSize : 0
          try check("fallocate") { Linux.fallocate(descriptor, mode, offset, length) }
          if !keep { grow(offset + length) }
        case .punch(let offset, let length):
          let mode = Linux.fallocatePunchHole | Linux.fallocateKeepSize
          try check("punch") { Linux.fallocate(descriptor, mode, offset, length) }
          fill(offset, length, 0)
        case .zero(let offset, let length, let keep):
          let mode = Linux.fallocateZeroRange | (keep ? Linux.fallocateKeepSize : 0)
          try check("zero") { Linux.fallocate(descriptor, mode, offset, length) }
          if !keep { grow(offset + length) }
          fill(offset, length, 0)
        case .truncate(let size):
          try check("ftruncate") { ftruncate(descriptor, size) }
          if size < model.count { model.removeLast(model.count - size) }
          grow(size)
        }
      }
    }

    private static let steps: [Step] = [
      .write(0, 100), .write(0, 3_000), .write(0, 20_000), .write(5_000, 9_000),
      .write(30_000, 5_000), .write(100, 50), .allocate(5_000, 20_000, keepSize: false),
      .allocate(5_000, 20_000, keepSize: true), .punch(5_000, 9_000), .punch(100, 50),
      .punch(0, 4_096), .punch(100, 9_000), .zero(5_000, 9_000, keepSize: false),
      .zero(100, 9_000, keepSize: true), .truncate(0), .truncate(50), .truncate(7_000),
      .truncate(40_000),
    ]

    /// `committed`: the first step is on the device before the second is done.
    @Test(.needsFuse, .timeLimit(.minutes(3)), arguments: [false, true])
    func allOfThree(committed: Bool) throws {
      let scratch = try Scratch()
      try scratch.make("--size", "1G")
      var mounted = try scratch.mount("commit=300", lifetime: 170)
      defer { try? mounted.unmount() }
      var expected: [(name: String, contents: [UInt8])] = []
      for first in Self.steps {
        var open: [(descriptor: Int32, steps: [Step])] = []
        defer { for file in open { close(file.descriptor) } }
        var models: [[UInt8]] = []
        for second in Self.steps {
          for third in Self.steps {
            let path = scratch.root.appending("\(first),\(second),\(third)")
            let descriptor = try check("create \(path)") {
              path.withCPath { Glibc.open($0, O_CREAT | O_RDWR, 0o644) }
            }
            var model: [UInt8] = []
            open.append((descriptor, [second, third]))
            try first.apply(to: descriptor, &model, 1)
            models.append(model)
          }
        }
        if committed { try mounted.sync() }
        for (index, file) in open.enumerated() {
          for (number, step) in file.steps.enumerated() {
            try step.apply(to: file.descriptor, &models[index], UInt8(2 + number))
          }
          let name = "\(first),\(file.steps[0]),\(file.steps[1])"
          expected.append((name, models[index]))
        }
      }
      try mounted.unmount()
      try scratch.expectSound()
      mounted = try scratch.mount("ro")
      for file in expected {
        let found = try readFile(scratch.root.appending(file.name))
        #expect(found == file.contents, "\(file.name) is wrong")
      }
    }
  }
}
