import Glibc
import SimulatedDevices
import Testing

@testable import FSCore

/// After the ioctl of `fsmount` that ends in `Volume.shutDown`.
@Suite(.timeLimit(.minutes(10))) struct ShutdownTests {
  private let content = [UInt8](repeating: 7, count: 300_000)

  @Test func nothingCanBeDoneAndTheImageStays() throws {
    let memory = try TestImage.make()
    let device = try SimulatedDevice(memory)
    let volume = try Volume.mountForTest(device)
    let file = try volume.makeFile("/file")
    let directory = try volume.makeDirectory("/directory")
    try volume.namespace.open(file, forWriting: true)
    try volume.writeBytes(file, at: 0, content)
    try volume.shutDown()
    let writes = device.count(.write)

    let refused: [(String, () throws -> Void)] = [
      ("lookup", { _ = try volume.find("/file") }),
      ("attributes", { _ = try volume.attributes.attributes(of: file) }),
      ("read", { _ = try volume.readBytes(file, at: 0, count: 1) }),
      ("write", { try volume.writeBytes(file, at: 0, [1]) }),
      ("allocate", { try volume.content.allocate(file, .plain, offset: 0, length: 4096) }),
      ("create", { try volume.makeFile("/other") }),
      ("remove", { try volume.remove("/file") }),
      ("list", { _ = try volume.names(directory) }),
      ("setAttribute", { try volume.attributes.setAttribute(file, Array("user.a".utf8), []) }),
      ("fsync", { try volume.content.synchronize(file, dataOnly: false) }),
    ]
    for (name, operation) in refused { #expect(errorNumber(operation) == EIO, "\(name)") }
    // Twice is as once. What was open is closed.
    try volume.shutDown()
    volume.namespace.release(file)
    try volume.unmount()
    #expect(device.count(.write) == writes)

    let again = try Volume.mountForTest(memory)
    let found = try again.find("/file")
    #expect(try again.readBytes(found, at: 0, count: 400_000) == content)
    try again.unmount()
  }

  @Test func volumeIsShutDownEvenIfItsDeviceFails() throws {
    let memory = try TestImage.make()
    let device = try SimulatedDevice(memory)
    let volume = try Volume.mountForTest(device)
    try volume.makeFile("/old")
    try volume.synchronizeAll()
    try volume.makeFile("/new")
    device.fail(.init([.write]))
    #expect(errorNumber { try volume.shutDown() } == EIO)
    device.heal()
    #expect(errorNumber { try volume.find("/old") } == EIO)
    #expect(throws: FilesystemError.aborted) { try volume.unmount() }

    let again = try Volume.mountForTest(memory)
    #expect(try again.names(again.rootDirectory) == ["old"])
    try again.unmount()
  }

  /// Not even what a worker was about to write. Threads that write meanwhile keep the workers busy.
  @Test func nothingIsWrittenAfterwards() throws {
    let memory = try TestImage.make()
    let device = try SimulatedDevice(memory)
    device.delay(.write, microseconds: 2000)
    let volume = try Volume.mountForTest(device)
    let bytes = [UInt8](repeating: 7, count: 1 << 20)
    let deadline = ContinuousClock.now + .seconds(60)
    let threads = try (0..<4).map { number in
      let id = try volume.makeFile("/f\(number)")
      return BackgroundThread {
        var count: UInt64 = 0
        while ContinuousClock.now < deadline {
          let code = errorNumber { try volume.writeBytes(id, at: count % 32 << 20, bytes) }
          guard code == 0 else { return }
          count += 1
        }
      }
    }
    usleep(200_000)
    try volume.shutDown()
    let writes = device.count(.write)
    for thread in threads { thread.join() }
    #expect(ContinuousClock.now < deadline)
    usleep(100_000)
    #expect(device.count(.write) == writes)
    try volume.unmount()
    #expect(device.count(.write) == writes)
  }

  @Test func readOnlyVolumesAreShutDown() throws {
    let volume = try Volume.mountForTest(try TestImage.make()) { $0.readOnly = true }
    try volume.shutDown()
    #expect(errorNumber { try volume.find("/") } == 0)
    #expect(errorNumber { try volume.find("/file") } == EIO)
    try volume.unmount()
  }

  /// A thread that is at work meanwhile sees the error of a shutdown and no other, and what had ended
  /// before the shutdown began is there.
  @Test func operationsUnderWayEndWell() throws {
    let fixture = try NamesFixture()
    let volume = fixture.volume
    let mustHold = Guarded<[String]>([], rank: .leaf)
    let codes = Guarded<[Int32]>([], rank: .leaf)
    let bytes = content
    let deadline = ContinuousClock.now + .seconds(60)
    let threads = (0..<4).map { number in
      BackgroundThread {
        var count = 0
        while ContinuousClock.now < deadline {
          let name = "f\(number)-\(count)"
          count += 1
          let code = errorNumber {
            let id = try volume.makeFile("/" + name)
            try volume.writeBytes(id, at: 0, Array(bytes.prefix(1000 * (count % 40))))
            if count % 10 == 0 { try volume.content.synchronize(id, dataOnly: false) }
          }
          guard code == 0 else { return codes.update { $0.append(code) } }
          mustHold.withLock { $0.append(name) }
        }
      }
    }
    usleep(300_000)
    let ended = mustHold.withLock { $0 }
    try volume.shutDown()
    for thread in threads { thread.join() }
    #expect(codes.withLock { $0 } == [EIO, EIO, EIO, EIO])

    try fixture.remount()
    #expect(Set(ended).isSubset(of: try fixture.volume.names(fixture.root)))
    try fixture.unmountAndCheck()
  }
}
