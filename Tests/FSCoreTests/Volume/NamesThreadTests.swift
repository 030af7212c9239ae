import Glibc
import TestSupport
import Testing

@testable import FSCore

/// Many threads on shared directories. What is left at the end must be whole.
@Suite(.timeLimit(.minutes(10))) struct NamesThreadTests {
  private func inParallel(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
    var threads: [pthread_t] = []
    for number in 0..<count {
      let work = Unmanaged.passRetained(Work { body(number) })
      var thread = pthread_t()
      let result = pthread_create(
        &thread, nil,
        { pointer in
          Unmanaged<Work>.fromOpaque(pointer!).takeRetainedValue().body()
          return nil
        }, work.toOpaque())
      precondition(result == 0)
      threads.append(thread)
    }
    for thread in threads { pthread_join(thread, nil) }
  }

  private final class Work {
    let body: () -> Void
    init(_ body: @escaping () -> Void) { self.body = body }
  }

  @Test(arguments: [1, 2])
  func sharedDirectories(seed: UInt64) throws {
    print("threads on names: seed \(seed)")
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    let shared = try (0..<3).map { try volume.directory("d\($0)", in: root) }
    let colliding = collidingNames(4, prefix: "c", length: 30)
    let unexpected = Guarded<[String]>([], rank: .leaf)

    inParallel(8) { thread in
      var random = SeededRandom(testSeed: seed &* 1000 &+ UInt64(thread))
      var known = shared
      for step in 0..<1500 {
        let directory = known[random.below(known.count)]
        let other = known[random.below(known.count)]
        func name() -> [UInt8] {
          let number = random.below(12)
          return number < 4 ? colliding[Int(number)] : Array("n\(number)".utf8)
        }
        let (a, b) = (name(), name())
        do {
          switch random.below(12) {
          case 0, 1, 2:
            _ = try volume.namespace.createNode(a, in: directory, mode: 0o100644, Volume.testOwner)
          case 3:
            let made = try volume.namespace.makeDirectory(
              a, in: directory, mode: 0o755, Volume.testOwner)
            if known.count < 10 { known.append(made.id) }
          case 4: try volume.namespace.unlink(a, in: directory)
          case 5: try volume.namespace.removeDirectory(a, in: directory)
          case 6, 7: try volume.namespace.rename(a, in: directory, to: b, in: other)
          case 8: try volume.namespace.rename(a, in: directory, to: b, in: other, flags: .exchange)
          case 9:
            let id = try volume.namespace.lookup(a, in: directory).id
            _ = try volume.namespace.link(id, b, in: other)
          case 10:
            let id = try volume.namespace.lookup(a, in: directory).id
            try volume.attributes.setAttribute(id, Array("user.t".utf8), [UInt8(thread)])
          default:
            try volume.namespace.readDirectory(directory, from: 0) {
              (record) throws(FilesystemError) in
              _ = try? volume.attributes.attributes(of: record.id)
              return true
            }
          }
        } catch let error as FilesystemError {
          let allowed = [
            EEXIST, ENOENT, ENOTEMPTY, EISDIR, ENOTDIR, EINVAL, EPERM, ESTALE, ENODATA,
          ]
          if !allowed.contains(error.errno) {
            unexpected.withLock { $0.append("thread \(thread), step \(step): \(error)") }
          }
        } catch {
          unexpected.withLock { $0.append("\(error)") }
        }
        if thread == 0, step % 100 == 0 { try? volume.commit() }
      }
    }
    #expect(unexpected.withLock { $0 } == [])

    let before = try volume.stateLines()
    try fixture.remount()
    #expect(try fixture.volume.stateLines() == before)
    try fixture.unmountAndCheck()
  }

  /// Two threads move two directories into each other's: one must fail.
  @Test func crossingRenames() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    for round in 0..<200 {
      let a = try volume.directory("a\(round)", in: root)
      let b = try volume.directory("b\(round)", in: root)
      let failures = Guarded(0, rank: .leaf)
      inParallel(2) { thread in
        let result = errorNumber {
          thread == 0
            ? try volume.namespace.rename("a\(round)", in: root, to: "x", in: b)
            : try volume.namespace.rename("b\(round)", in: root, to: "x", in: a)
        }
        if result != 0 { failures.withLock { $0 += 1 } }
      }
      #expect(failures.withLock { $0 } == 1)
    }
    #expect(try volume.names(root).count == 200)
    try fixture.unmountAndCheck()
  }

  @Test func openAndUnlinkRace() throws {
    let fixture = try NamesFixture()
    let (volume, root) = (fixture.volume, fixture.root)
    inParallel(6) { thread in
      for number in 0..<400 {
        let name = Array("f\(number % 5)".utf8)
        if thread < 3 {
          if let made = try? volume.namespace.createNode(
            name, in: root, mode: 0o100644, Volume.testOwner),
            (try? volume.namespace.open(made.id)) != nil
          {
            try? volume.writeBytes(made.id, at: 0, [UInt8](repeating: 1, count: 5000))
            volume.namespace.release(made.id)
          }
        } else {
          try? volume.namespace.unlink(name, in: root)
        }
      }
    }
    #expect(volume.inodes.orphans().isEmpty)
    try fixture.unmountAndCheck()
  }
}
