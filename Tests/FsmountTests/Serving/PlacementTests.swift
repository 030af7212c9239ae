import CFuse
import Testing

/// The policy that says where to listen, with clients and a clock that are made up.
@Suite(.timeLimit(.minutes(1))) struct PlacementTests {
  private static let microsecond: Int64 = 1_000
  private static let millisecond: Int64 = 1_000_000
  private static let second: Int64 = 1_000_000_000

  /// A machine with clients, as the policy sees it.
  private struct Machine {
    var policy = cfuse_placement()
    var now: Int64 = 0
    /// Where the client runs.
    var processor: Int32 = 0
    /// Whether anybody can say so.
    var isKnown = true
    var samples: [Int64] = []
    /// How long the server was on a processor, and how long on that of the client.
    var placed: Int64 = 0
    var together: Int64 = 0
    var size = CFUSE_SMALL_REQUEST
    var isCrowded = false
    /// From one request to the next, where the server is with the client, on another processor, or
    /// nowhere.
    var near = 20 * microsecond
    var far = 60 * microsecond
    var free = 40 * microsecond

    init(processors: [Int32] = [0, 1, 2, 3]) {
      cfuse_placement_begin(&policy, processors, UInt32(processors.count))
    }

    var place: Int32 { withUnsafePointer(to: policy) { cfuse_placement_processor($0) } }

    /// One request, from when the server listens to when the next one is there.
    mutating func request(of client: UInt32 = 7) {
      if cfuse_placement_wants_sample(&policy, now) {
        samples.append(now)
        cfuse_placement_sampled(&policy, now, isKnown ? processor : -1)
      }
      let place = place
      let time = place < 0 ? free : place == processor ? near : far
      now += time
      placed += place < 0 ? 0 : time
      together += place == processor ? time : 0
      cfuse_placement_took(&policy, now, client, size, isCrowded)
    }

    mutating func run(for duration: Int64, of client: UInt32 = 7) {
      let end = now + duration
      while now < end { request(of: client) }
    }

    mutating func forgetFigures() {
      placed = 0
      together = 0
      samples = []
    }
  }

  @Test func aClientThatStaysIsJoined() {
    var machine = Machine()
    machine.processor = 2
    machine.run(for: Self.second)
    #expect(machine.place == 2)

    // What is left for the other placement is bounded: 4 windows of 4 ms in a contest that is won,
    // one in a contest that is lost, and of the latter one a second.
    machine.run(for: 4 * Self.second)
    machine.forgetFigures()
    machine.run(for: 10 * Self.second)
    #expect(machine.together > 9_940 * Self.millisecond)
    #expect(machine.samples.count < 10_010)
    let gaps = zip(machine.samples, machine.samples.dropFirst()).map { $1 - $0 }
    #expect(gaps.filter { $0 < Self.millisecond }.count < 25, "one when a window begins, else none")
  }

  @Test func aServerThatIsQuickerElsewhereStaysFree() {
    var machine = Machine()
    machine.near = 50 * Self.microsecond
    machine.run(for: 5 * Self.second)
    #expect(machine.place == -1)
    #expect(machine.policy.changes == 0)

    // Ten windows of 4 ms and a little, in as many seconds; but each contest must have been.
    machine.forgetFigures()
    let contests = machine.policy.contests
    machine.run(for: 10 * Self.second)
    #expect((9...10).contains(machine.policy.contests - contests))
    #expect(machine.placed > 30 * Self.millisecond && machine.placed < 60 * Self.millisecond)

    // The first second costs most: contests after 0.1, 0.2, 0.4 and 0.8 seconds.
    var fresh = Machine()
    fresh.near = 50 * Self.microsecond
    fresh.run(for: Self.second)
    #expect(fresh.placed < 16 * Self.millisecond)
  }

  /// It is left as soon as that is plain: after 1 ms, not after 4.
  @Test func aMuchWorsePlaceIsLeftEarly() {
    var machine = Machine()
    machine.near = 120 * Self.microsecond
    machine.run(for: 10 * Self.second)
    #expect(machine.policy.contests >= 9)
    #expect(machine.placed < Int64(machine.policy.contests) * 1_700 * Self.microsecond)
  }

  @Test func littleDifferenceIsNone() {
    var machine = Machine()
    machine.near = 39 * Self.microsecond
    machine.run(for: 10 * Self.second)
    #expect(machine.policy.changes == 0)
    machine.near = 37 * Self.microsecond
    machine.run(for: 10 * Self.second)
    #expect(machine.policy.changes == 1)
  }

  @Test func aClientThatHopsIsFollowed() {
    var machine = Machine()
    machine.run(for: Self.second)
    machine.forgetFigures()
    for step in 1...200 {
      machine.processor = Int32(step % 4)
      machine.run(for: 10 * Self.millisecond)
    }
    // It is found within a millisecond, and a request.
    #expect(machine.policy.prefers_local)
    #expect(machine.together > 1_700 * Self.millisecond)

    // One that hops faster than it is looked for: the scheduler does better.
    machine = Machine()
    machine.run(for: Self.second)
    for step in 1...20_000 {
      machine.processor = Int32(step % 4)
      machine.run(for: 300 * Self.microsecond)
    }
    #expect(!machine.policy.prefers_local)
  }

  @Test func theBetterOneIsUsedWhenThatChanges() {
    var machine = Machine()
    machine.run(for: 5 * Self.second)
    #expect(machine.place >= 0)
    machine.free = 10 * Self.microsecond
    machine.run(for: 3 * Self.second)
    #expect(machine.place == -1)
    machine.free = 40 * Self.microsecond
    machine.run(for: 3 * Self.second)
    #expect(machine.place >= 0)
  }

  @Test func twoClientsAreNotFollowed() {
    var machine = Machine()
    machine.run(for: Self.second)
    machine.request(of: 8)
    machine.request(of: 8)
    #expect(machine.place == -1)
    machine.forgetFigures()
    let end = machine.now + 5 * Self.second
    while machine.now < end {
      machine.request(of: 7)
      machine.request(of: 8)
    }
    #expect(machine.placed == 0 && machine.samples.isEmpty)

    // A stray request of another one is none of two clients.
    machine.run(for: Self.second)
    #expect(machine.place >= 0)
    machine.request(of: 9)
    #expect(machine.place >= 0)
  }

  /// What serves one after the other, each for a few requests, costs no contest each.
  @Test func shortClientsCostLittle() {
    var machine = Machine()
    machine.near = 80 * Self.microsecond
    for client: UInt32 in 10..<2_000 { machine.run(for: 6 * Self.millisecond, of: client) }
    #expect(machine.placed < machine.now / 100)
    #expect(machine.policy.contests > 3)
  }

  @Test(arguments: [true, false])
  func aBurstEndsIt(isOfLargeReads: Bool) {
    var machine = Machine()
    machine.run(for: Self.second)
    #expect(machine.place >= 0)
    machine.size = isOfLargeReads ? CFUSE_LARGE_REQUEST : CFUSE_SMALL_REQUEST
    machine.isCrowded = !isOfLargeReads
    machine.request()
    #expect(machine.place == -1)
    machine.forgetFigures()
    machine.run(for: 5 * Self.second)
    #expect(machine.placed == 0 && machine.samples.isEmpty)

    // What was learned before is still known.
    machine.size = CFUSE_SMALL_REQUEST
    machine.isCrowded = false
    for _ in 0..<20 { machine.request() }
    #expect(machine.place >= 0)
  }

  @Test func whereNobodySaysItIsTried() {
    var machine = Machine()
    machine.isKnown = false
    machine.processor = 3
    machine.run(for: 10 * Self.second, of: 0)
    #expect(machine.place == 3)

    // Where it does not help, it costs a bounded time.
    machine = Machine()
    machine.isKnown = false
    machine.processor = 9
    machine.run(for: 10 * Self.second, of: 0)
    #expect(machine.place == -1)
    #expect(machine.policy.contests > 8)
    #expect(machine.placed < 60 * Self.millisecond)
  }

  @Test func aRefusalEndsIt() {
    var machine = Machine()
    machine.run(for: Self.second)
    #expect(machine.place >= 0)
    cfuse_placement_refused(&machine.policy, machine.now)
    machine.forgetFigures()
    machine.run(for: 990 * Self.millisecond)
    #expect(machine.placed == 0)
    machine.run(for: Self.second)
    #expect(machine.place >= 0, "it is tried again")
  }

  @Test func pausesDoNotCount() {
    var machine = Machine()
    for _ in 0..<1_000 {
      for _ in 0..<20 { machine.request() }
      machine.now += 20 * Self.millisecond
    }
    #expect(machine.policy.changes == 1 && machine.policy.prefers_local)
  }

  /// A window of the free placement that was interrupted looks slow, and the next one does not.
  @Test func anAccidentDoesNotDecide() {
    var machine = Machine()
    machine.near = 50 * Self.microsecond
    while !machine.policy.in_contest { machine.request() }
    machine.now += 3 * Self.millisecond
    machine.run(for: Self.second)
    #expect(machine.policy.contests > 1)
    #expect(machine.policy.changes == 0)
  }

  /// The first requests after a move find nothing in the caches.
  @Test func aMoveIsNotHeldAgainstAPlace() {
    var machine = Machine()
    machine.near = 36 * Self.microsecond
    var place: Int32 = -1
    var cold = 0
    while machine.now < 2 * Self.second {
      if machine.place != place { cold = 4 }
      place = machine.place
      machine.now += cold > 0 ? 150 * Self.microsecond : 0
      cold -= cold > 0 ? 1 : 0
      machine.request()
    }
    #expect(machine.policy.prefers_local)
  }

  /// Releases and what forgets name no client.
  @Test func whatNobodyWaitsForIsNoClient() {
    var machine = Machine()
    machine.run(for: Self.second)
    for _ in 0..<100 {
      cfuse_placement_took(&machine.policy, machine.now, 0, CFUSE_UNANSWERED_REQUEST, true)
    }
    #expect(machine.place >= 0)
  }

  @Test func aSingleProcessorIsNeverNamed() {
    for processors: [Int32] in [[], [3], Array(0..<300)] {
      var machine = Machine(processors: processors)
      machine.run(for: 3 * Self.second)
      #expect(machine.placed == 0 && machine.samples.isEmpty)
    }
  }
}
