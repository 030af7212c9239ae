import Glibc
import SimulatedDevices
import Testing

@testable import FSCore

@Suite(.timeLimit(.minutes(2))) struct CommitFaultTests {
  /// A change that fails halfway while a commit waits for it is not committed.
  @Test func halfAChangeIsNotCommitted() throws {
    let device = try TestImage.make()
    let volume = try Volume.mountForTest(device)
    try volume.makeFile("/good")
    try volume.synchronizeAll()
    let committed = volume.transactions.committed

    try volume.makeFile("/later")
    let hasChanged = Guarded(false, rank: .leaf)
    let half = BackgroundThread {
      do throws(FilesystemError) {
        try volume.transactions.performUnreserved { (handle) throws(FilesystemError) in
          handle.noteChange()
          hasChanged.update { $0 = true }
          expectSoon("a commit begins") { volume.transactions.isClosed }
          throw .corrupt("the test's own error")
        }
      } catch {
        // The volume is aborted.
      }
    }
    #expect(hasChanged.wait(atMost: 60) { $0 })
    #expect(throws: FilesystemError.aborted) { try volume.commit() }
    half.join()
    #expect(volume.transactions.committed == committed)
    #expect(throws: FilesystemError.aborted) { try volume.unmount() }

    let after = try Volume.mountForTest(device)
    #expect(try after.stateLines().count == 1)
    try after.unmount()
  }

  /// Wherever a commit fails: what was asked for gets an error, the volume takes no change any
  /// more, and the device holds the state of the last good commit.
  @Test func aFailedCommitLeavesTheLastGoodOne() throws {
    let base = try TestImage.make()
    var faultCount = 0
    for allowed in 0..<40 {
      let device = try SimulatedDevice(base.copy())
      let volume = try Volume.mountForTest(device)
      try volume.makeDirectory("/d")
      try volume.writeBytes(volume.makeFile("/d/old"), at: 0, [UInt8](repeating: 7, count: 50_000))
      try volume.synchronizeAll()
      let good = try volume.stateLines()

      try volume.makeFile("/d/new")
      let new = try volume.stateLines()
      device.fail(.init([.write, .flush], after: allowed))
      var failure: FilesystemError?
      do throws(FilesystemError) {
        try volume.synchronizeAll()
      } catch {
        failure = error
      }

      if let failure {
        faultCount += 1
        #expect(failure.errno == 5, "\(failure)")
        #expect(throws: FilesystemError.aborted) { try volume.makeFile("/d/more") }
        #expect(throws: FilesystemError.aborted) { try volume.commit() }
        // Reading goes on.
        #expect(try volume.readBytes(volume.find("/d/old"), at: 0, count: 3) == [7, 7, 7])
      }
      device.heal()
      try? volume.unmount()

      let after = try Volume.mountForTest(device.memory.copy())
      let lines = try after.stateLines()
      try after.unmount()
      // The superblock may have reached the device before the error.
      #expect(lines == new || (lines == good && failure != nil), "after \(allowed) writes")
      if failure == nil { break }
    }
    #expect(faultCount > 3)
  }
}
