import ArgumentParser
import FSCore
import Glibc
import Synchronization
import TestSupport

/// What it brings, and costs, to choose the processor on which requests are waited for.
struct PlacementCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "placement",
    abstract: "Compares two builds with clients that stay, move, and get in each other's way.",
    discussion: """
      All are mounted at once, and each row runs on one right after the other. Prints operations a \
      second, how many times as many the new build serves (the median of the pairs' ratios), and the \
      range in which that is with 95 % certainty. Where there is one client, the third column has the \
      old build with the client and all of the server on one processor.
      """)

  @Option(help: "The program to compare with.")
  var old: String

  @Option(help: "The program to look at; this checkout's if left out.")
  var new: String?

  @Option(help: "How long each measurement takes.")
  var milliseconds = 500

  @Option(help: "Repetitions, of which the median counts; 6 at least.")
  var repetitions = 9

  func validate() throws {
    guard repetitions >= 6 else {
      throw ValidationError("a median of fewer than 6 repetitions says nothing")
    }
  }

  func run() throws {
    let processors = ThreadProcessors.own
    guard processors.count > 1 else { throw ValidationError("needs two processors") }
    let place = try TemporaryDirectory(inMemory: true)
    let onOne = place.file("on-one")
    try writeFile(
      BytePath(onOne),
      Array("#!/bin/sh\nexec taskset -c \(processors[0]) '\(old)' \"$@\"\n".utf8))
    try check("chmod \(onOne)") { chmod(onOne, 0o755) }

    let programs = [old, try new ?? FsmountProgram.required(), onOne]
    var mounts: [any MountedImage] = []
    defer { for mounted in mounts { try? mounted.unmount() } }
    var clients: [PlacementClients] = []
    for (index, program) in programs.enumerated() {
      let build = FsmountBuild(program: program)
      let image = place.file("\(index).img")
      try build.format(image, size: "1G")
      let directory = try place.directory("\(index)")
      mounts.append(try build.mount(image, at: directory))
      clients.append(try PlacementClients(directory: directory, processors: processors))
    }

    var rows = [["ops/s", "old", "new", "one processor", "new/old", "95 %"]]
    for scenario in PlacementScenario.allCases {
      var figures: [[Double]] = [[], [], []]
      let busy = try scenario.isCrowded ? processors.map { _ in try BusyProcess() } : []
      for repetition in 1...repetitions {
        // Each goes first every other time.
        for index in repetition % 2 == 1 ? [0, 1, 2] : [2, 1, 0] {
          guard index < 2 || scenario.isOfOneClient else { continue }
          figures[index].append(
            try clients[index].rate(
              of: scenario, seconds: Double(milliseconds) / 1000, staysOnFirst: index == 2))
        }
      }
      for process in busy { process.end() }
      rows.append(row(scenario, figures))
      standardError("\(scenario.rawValue): done")
    }
    say(MarkdownTable.text(rows, leftAligned: 1))
  }

  private func row(_ scenario: PlacementScenario, _ figures: [[Double]]) -> [String] {
    let ratios = zip(figures[0], figures[1]).map { $1 / $0 }
    let medians = figures.map { $0.median.map(MarkdownTable.grouped) ?? "" }
    let range = ratios.rangeOfMedian.map {
      "\(MarkdownTable.ratio($0.lowerBound)) to \(MarkdownTable.ratio($0.upperBound))"
    }
    return [scenario.rawValue] + medians + [
      ratios.median.map(MarkdownTable.ratio) ?? "", range ?? "",
    ]
  }
}

enum PlacementScenario: String, CaseIterable {
  case lookups = "one client looks up names"
  case creations = "one client creates and removes files"
  case bound = "one client, bound to a processor"
  case hopping = "one client that changes its processor every 5 ms"
  case two = "two clients, each on a processor of its own"
  case four = "four threads"
  case largeReads = "one client reads 1 MiB at a time"
  case crowdedLookups = "names, beside a busy process for each processor"
  case crowdedCreations = "files, beside a busy process for each processor"

  var isCrowded: Bool { self == .crowdedLookups || self == .crowdedCreations }

  var threads: Int {
    switch self {
    case .two: 2
    case .four: 4
    default: 1
    }
  }

  /// One that is not on a processor of this scenario's choice.
  var isOfOneClient: Bool { threads == 1 && self != .hopping && self != .bound }

  var work: Work {
    switch self {
    case .creations, .crowdedCreations: .creations
    case .largeReads: .largeReads
    default: .lookups
    }
  }

  enum Work { case lookups, creations, largeReads }
}

/// A process that computes until it is ended.
private final class BusyProcess {
  private let command: RunningCommand

  init() throws { command = try RunningCommand(["sh", "-c", "while :; do :; done"]) }

  func end() {
    command.signal(SIGKILL)
    _ = command.wait(timeout: 10)
  }
}

/// The clients of one mount.
struct PlacementClients: Sendable {
  private let directory: String
  private let processors: [Int32]

  private static let readSize = 1 << 20
  private static let fileSize = 64 << 20

  init(directory: String, processors: [Int32]) throws {
    self.directory = directory
    self.processors = processors
    try writeFile(BytePath("\(directory)/large"), [UInt8](repeating: 1, count: Self.fileSize))
    for thread in 0..<4 {
      let path = "\(directory)/\(thread)"
      try check("mkdir \(path)") { mkdir(path, 0o755) }
    }
  }

  /// Operations a second.
  func rate(
    of scenario: PlacementScenario, seconds: Double, staysOnFirst: Bool
  ) throws -> Double {
    let count = Atomic(0)
    let start = monotonicSeconds()
    try onThreads(scenario.threads) { thread in
      if staysOnFirst || scenario == .bound { ThreadProcessors.use([processors[0]]) }
      if scenario == .two { ThreadProcessors.use([processors[thread]]) }
      let done = try work(scenario, thread, until: start + seconds)
      count.add(done, ordering: .relaxed)
    }
    return Double(count.load(ordering: .relaxed)) / (monotonicSeconds() - start)
  }

  private func work(
    _ scenario: PlacementScenario, _ thread: Int, until end: Double
  ) throws -> Int {
    let buffer = UnsafeMutableRawBufferPointer.allocate(
      byteCount: Self.readSize, alignment: 4096)
    defer { buffer.deallocate() }
    let large = "\(directory)/large"
    let file = try check("open \(large)") { open(large, O_RDONLY | Linux.openDirect) }
    defer { close(file) }

    // The kernel knows no name of an earlier measurement.
    let prefix = "\(directory)/\(thread)/\(UInt64(end * 1e6))-"
    var count = 0
    var turn = 0
    var move = monotonicSeconds()
    while true {
      let now = monotonicSeconds()
      if now >= end { return count }
      if scenario == .hopping, now >= move {
        turn += 1
        ThreadProcessors.use([processors[turn % processors.count]])
        move = now + 0.005
      }
      try operation(scenario.work, "\(prefix)\(count)", count, file, buffer)
      count += 1
    }
  }

  private func operation(
    _ work: PlacementScenario.Work, _ path: String, _ number: Int, _ file: Int32,
    _ buffer: UnsafeMutableRawBufferPointer
  ) throws {
    switch work {
    case .lookups:
      var status = stat()
      guard lstat(path, &status) != 0, errno == ENOENT else {
        throw TestFailure("\(path) is there")
      }
    case .creations:
      close(try check("create \(path)") { open(path, O_CREAT | O_EXCL | O_WRONLY, 0o644) })
      try check("unlink \(path)") { unlink(path) }
    case .largeReads:
      let offset = number * Self.readSize % Self.fileSize
      let got = try check("pread") {
        pread(file, buffer.baseAddress, Self.readSize, offset)
      }
      guard got == Self.readSize else { throw TestFailure("pread gives \(got) bytes") }
    }
  }
}
