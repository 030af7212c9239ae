import Glibc
import SimulatedDevices
import Testing

@testable import FSCore

/// Threads that want different files durable share commits.
@Suite(.timeLimit(.minutes(10))) struct SharedCommitTests {
  @Test func allThreadsThatWaitShareTheNextCommit() throws {
    let threadCount = 12
    let memory = try TestImage.make(sizeBytes: 4 << 30)
    let device = try SimulatedDevice(memory)
    let volume = try Volume.mountForTest(device)
    let files = try (0...threadCount).map { try volume.makeFile("/file\($0)") }
    try volume.synchronizeAll()
    let before = volume.commitCount

    let failures = Guarded<[String]>([], rank: .leaf)
    func synchronizing(_ id: InodeID) -> BackgroundThread {
      BackgroundThread {
        do {
          try volume.writeBytes(id, at: 0, [UInt8](repeating: 5, count: 4096))
          try volume.content.synchronize(id, dataOnly: false)
        } catch {
          failures.withLock { $0.append("\(error)") }
        }
      }
    }

    // One commit is on its way to the device, which takes long, when all others come.
    device.hold(.flush)
    let flushes = device.count(.flush)
    let first = synchronizing(files[0])
    #expect(device.wait(.flush, beyond: flushes))
    let others = files[1...].map(synchronizing)
    expectSoon("all threads wait") {
      volume.committer.turn.withLock { $0.waiting } == threadCount
    }
    #expect(volume.commitCount == before)
    device.letGo(.flush)
    first.join()
    for thread in others { thread.join() }

    #expect(failures.withLock { $0 } == [])
    #expect(volume.commitCount == before + 2)

    // All that the threads wrote is on the device.
    let again = try Volume.mountForTest(memory.copy())
    for number in 0...threadCount {
      let bytes = try again.readBytes(again.find("/file\(number)"), at: 0, count: 4096)
      #expect(bytes == [UInt8](repeating: 5, count: 4096))
    }
    try again.unmount()
    try volume.unmount()
    try CacheJudge.judge(memory)
  }

  /// A file whose transaction is being written waits for that one alone, though there are changes
  /// of the next one.
  @Test func aFileOfTheTransactionBeingWrittenWaitsForNoOther() throws {
    let device = try SimulatedDevice(try TestImage.make(sizeBytes: 4 << 30))
    let volume = try Volume.mountForTest(device)
    let file = try volume.makeFile("/file")
    let before = volume.commitCount
    device.hold(.flush)
    let flushes = device.count(.flush)
    let first = BackgroundThread { try? volume.synchronizeAll() }
    #expect(device.wait(.flush, beyond: flushes))

    try volume.makeFile("/of the next transaction")
    let isDone = Guarded(false, rank: .leaf)
    let second = BackgroundThread {
      try? volume.content.synchronize(file, dataOnly: false)
      isDone.update { $0 = true }
    }
    // It must not return before that transaction is durable.
    #expect(!isDone.wait(atMost: 0.2) { $0 })
    device.letGo(.flush)
    first.join()
    second.join()
    #expect(volume.commitCount == before + 1)
    #expect(volume.transactions.isDirty)
    try volume.unmount()
  }
}
