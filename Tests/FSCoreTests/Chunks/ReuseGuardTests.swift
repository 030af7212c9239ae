import Foundation
import SimulatedDevices
import Synchronization
import Testing

@testable import FSCore

@Suite(.timeLimit(.minutes(10))) struct ReuseGuardTests {
  /// Waits a while for `condition`, and says whether it came to hold.
  private static func comesTrue(_ condition: () -> Bool) -> Bool {
    for _ in 0..<2000 {
      if condition() { return true }
      usleep(5000)
    }
    return false
  }

  @Test(.timeLimit(.minutes(1)))
  func waitsForEarlierReadersAndNoOthers() {
    let reuse = ReuseGuard()
    reuse.waitForEarlierReaders()

    let isIn = Flag()
    let mayLeave = Flag()
    let isDone = Flag()
    let reader = Thread {
      reuse.reading {
        // Entering twice is legal.
        reuse.reading { isIn.set() }
        #expect(Self.comesTrue { mayLeave.isSet })
      }
    }
    reader.start()
    #expect(Self.comesTrue { isIn.isSet })
    let waiter = Thread {
      reuse.waitForEarlierReaders()
      isDone.set()
    }
    waiter.start()
    usleep(50_000)
    #expect(!isDone.isSet)
    // A later reader comes and goes, and one that stays does not hold the wait up.
    reuse.reading {}
    reuse.reading {
      #expect(!isDone.isSet)
      mayLeave.set()
      #expect(Self.comesTrue { isDone.isSet })
    }
    reuse.waitForEarlierReaders()
  }

  /// A place is published, replaced, waited for, and overwritten, while readers look at it.
  @Test(.timeLimit(.minutes(1)))
  func noReaderSeesAPlaceThatIsUsedAnew() {
    let reuse = ReuseGuard()
    let places = UnsafeMutablePointer<Atomic<Int>>.allocate(capacity: 4)
    for index in 0..<4 { (places + index).initialize(to: Atomic(0)) }
    defer {
      places.deinitialize(count: 4)
      places.deallocate()
    }
    let published = Atomic<Int>(0)
    let mustStop = Flag()
    let wrong = Atomic<Int>(0)
    let ended = Atomic<Int>(0)
    // The pointer is shared by intention.
    nonisolated(unsafe) let shared = places
    for _ in 0..<3 {
      Thread {
        while !mustStop.isSet {
          reuse.reading {
            let place = published.load(ordering: .acquiring)
            for _ in 0..<20 where shared[place].load(ordering: .relaxed) != 0 {
              wrong.add(1, ordering: .relaxed)
            }
          }
        }
        ended.add(1, ordering: .relaxed)
      }.start()
    }
    for round in 0..<3000 {
      let old = round % 4
      published.store((round + 1) % 4, ordering: .sequentiallyConsistent)
      reuse.waitForEarlierReaders()
      shared[old].store(1, ordering: .relaxed)
      shared[old].store(0, ordering: .releasing)
    }
    mustStop.set()
    #expect(Self.comesTrue { ended.load(ordering: .relaxed) == 3 })
    let count = wrong.load(ordering: .relaxed)
    #expect(count == 0)
  }

  /// A read of file data that the device does not answer keeps everything pinned that was freed
  /// since it began, whosever it was, and holds up no other reader.
  @Test(.timeLimit(.minutes(1)))
  func freedSpaceWaitsForAReaderOfData() throws {
    let device = try SimulatedDevice(TestImage.make())
    let volume = try Volume.mountForTest(device)
    defer { try? volume.unmount() }
    let size = 1 << 20
    let read = try volume.makeFile("/read")
    let freed = try volume.makeFile("/freed")
    let bytes = [UInt8](repeating: 7, count: size)
    try volume.writeBytes(read, at: 0, bytes)
    try volume.writeBytes(freed, at: 0, bytes)
    try volume.synchronizeAll()

    device.hold(.read, of: size)
    defer { device.letGo(.read) }
    let answered = Flag()
    Thread {
      #expect(throws: Never.self) {
        let result = try volume.readBytes(read, at: 0, count: size)
        #expect(result == bytes)
      }
      answered.set()
    }.start()
    #expect(Self.comesTrue { device.heldRequests > 0 })

    try volume.remove("/freed")
    let committed = Flag()
    Thread {
      #expect(throws: Never.self) { try volume.commit() }
      committed.set()
    }.start()
    usleep(300_000)
    #expect(!committed.isSet)
    #expect(volume.space.groups.data.counters.withLock { $0.pinned } >= UInt64(size))
    #expect(try volume.readBytes(read, at: 4096, count: 4096) == Array(bytes.prefix(4096)))
    #expect(try volume.find("/read") == read)

    device.letGo(.read)
    #expect(
      Self.comesTrue {
        committed.isSet && answered.isSet
      })
    #expect(volume.space.groups.data.counters.withLock { $0.pinned } == 0)
  }
}

/// Something that came to pass in another thread.
private final class Flag: Sendable {
  private let value = Atomic<Bool>(false)
  var isSet: Bool { value.load(ordering: .relaxed) }
  func set() { value.store(true, ordering: .relaxed) }
}
