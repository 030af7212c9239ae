import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// How far a balance says that it is.
@Suite(.timeLimit(.minutes(2))) struct BalanceTallyTests {
  /// What goes from the first group into the second moves again: 130 bytes, though there are 100.
  @Test func whatMovesTwice() {
    var tally = BalanceTally()
    tally.begin([300: 40, 200: 60])
    #expect(tally.expected == 2 && tally.bytesExpected == 100 && tally.progress == 0)
    tally.consider()
    tally.enter(300, used: 40)
    tally.note(moved: 20)
    #expect(tally.progress == 0.25)
    tally.note(moved: 20)
    tally.leave(isDone: true)
    #expect(tally.progress == 0.5 && tally.done == 1)
    tally.consider()
    tally.enter(200, used: 90)
    #expect(tally.bytesExpected == 130)
    tally.note(moved: 45)
    #expect(tally.progress == 0.75 && tally.bytesMoved == 85)
    tally.note(moved: 45)
    #expect(tally.progress < 1)
    tally.leave(isDone: true)
    #expect(tally.progress < 1 && tally.bytesMoved == 130 && tally.bytesExpected == 130)
    tally.end()
    #expect(tally.progress == 1 && tally.done == 2 && tally.considered == 2)
  }

  /// One that is paused goes on from where it was, with what it finds then.
  @Test func pauses() {
    var tally = BalanceTally()
    tally.begin([400: 100, 300: 100, 200: 100, 100: 100])
    tally.enter(400, used: 100)
    tally.note(moved: 100)
    tally.leave(isDone: true)
    tally.enter(300, used: 100)
    tally.note(moved: 50)
    let before = tally.progress
    #expect(before == 0.375)
    tally.begin([300: 50, 200: 100, 100: 100])
    #expect(tally.progress == before && tally.done == 1 && tally.expected == 4)
    #expect(tally.bytesMoved == 150 && tally.bytesExpected == 400)
    tally.enter(300, used: 50)
    tally.note(moved: 25)
    #expect(tally.progress > before && tally.progress < 0.5)
  }

  /// Groups that do not match any more, for which there is no room, and that came later.
  @Test func leftOut() {
    var tally = BalanceTally()
    tally.begin([300: 10, 200: 20])
    tally.skip(400)
    #expect(tally.expected == 2)
    tally.skip(300)
    #expect(tally.expected == 1 && tally.bytesExpected == 20 && tally.progress == 0.5)
    tally.enter(200, used: 20)
    tally.note(moved: 5)
    tally.leave(isDone: false)
    #expect(tally.done == 0 && tally.expected == 1 && tally.bytesExpected == 20)
    tally.enter(100, used: 7)
    tally.leave(isDone: true)
    #expect(tally.done == 1 && tally.expected == 2)
    #expect(tally.bytesMoved == 5 && tally.bytesExpected == 20)
  }

  /// Whatever happens: no figure is beyond its total, and none falls that must not.
  @Test func anyOrder() {
    var random = SeededRandom(testSeed: 131)
    for _ in 0..<500 {
      var tally = BalanceTally()
      var last = 0.0
      func check() {
        #expect(tally.progress >= last && tally.progress < 1)
        #expect(tally.done <= tally.expected && tally.bytesMoved <= tally.bytesExpected)
        last = tally.progress
      }
      for _ in 0..<1 + random.below(3) {
        var groups: [LogicalAddress: UInt64] = [:]
        for number in 0..<random.below(8) {
          groups[LogicalAddress(UInt64(number + 1))] = UInt64(random.below(1000))
        }
        tally.begin(groups)
        check()
        for number in (0..<10).reversed() {
          let group = LogicalAddress(UInt64(number))
          tally.consider()
          if random.oneIn(4) {
            tally.skip(group)
            check()
            continue
          }
          tally.enter(group, used: UInt64(random.below(2000)))
          check()
          for _ in 0..<random.below(5) {
            tally.note(moved: UInt64(random.below(600)))
            check()
          }
          // It is paused.
          if random.oneIn(10) { break }
          tally.leave(isDone: random.oneIn(2))
          check()
        }
      }
    }
  }

  /// A balance of groups into which others are emptied, asked again and again.
  @Test func risesToTheEnd() throws {
    var random = SeededRandom(testSeed: 132)
    let memory = try TestImage.make(sizeBytes: 1 << 30)
    let device = try SimulatedDevice(memory)
    let volume = try Volume.mountForTest(device)
    for number in 0..<6 {
      try volume.content.allocate(
        try volume.makeFile("/f\(number)"), .plain, offset: 0, length: 60 << 20)
      for part in 0..<10 {
        let id = try volume.makeFile("/small\(number)-\(part)")
        try volume.writeBytes(id, at: 0, random.bytes(300_000))
      }
      try volume.synchronizeAll()
    }
    for number in 0..<6 { try volume.remove("/f\(number)") }
    try volume.synchronizeAll()
    device.delay(.write, microseconds: 300)
    try volume.balance.start(.all)
    var seen: [BalanceStatus] = []
    while true {
      let hasEnded = volume.balance.wait(seconds: 0.002)
      seen.append(volume.balance.status)
      if hasEnded { break }
    }
    try volume.finishBalance()
    for (one, next) in zip(seen, seen.dropFirst()) {
      #expect(one.progress <= next.progress && one.bytesMoved <= next.bytesMoved)
    }
    for status in seen {
      #expect(status.bytesMoved <= status.bytesExpected && status.done <= status.expected)
      #expect((status.progress == 1) == (status.outcome != nil))
    }
    #expect(seen.contains { $0.progress > 0 && $0.progress < 1 })
    try volume.unmount()
    try CacheJudge.check(memory)
  }
}
