import ArgumentParser
import TestSupport

struct ApplicationsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "applications",
    abstract: "Compares what people do with a file system: untar, git, make, databases.",
    discussion: """
      Each peer has an image of its own, all are mounted at once, and each row runs on one right after \
      the other. Rows in which something is written end with a sync, which counts. After each row it is \
      checked, in a mount made anew, that what was done is there. Prints a table in Markdown: medians, \
      and in brackets each peer's speed as a multiple of fsmount's.

      Rows: untar, find-name, find-size, grep, copy, git-status, git-checkout, remove, build, \
      sqlite-wal, sqlite-rollback, pgbench, fio, create.
      """)

  @Option(help: "Number of files in the source tree.")
  var files = 20_000

  @Option(help: "Repetitions, of which the median counts.")
  var repetitions = 3

  @Option(help: "Rows, separated by commas; all whose programs are installed if left out.")
  var only: String?

  @Option(
    help: """
      Peers, separated by commas: fsmount, allow_other, fuse2fs, ntfs-3g, kernel, empty; all that are \
      present but empty if left out.
      """)
  var peers: String?

  @Option(help: "Where the images are, on a disk for instance; in memory if left out.")
  var directory: String?

  @Flag(help: "A quick look: a small tree and one repetition.")
  var quick = false

  @OptionGroup var output: ReportOptions

  private final class Samples {
    var figures: [String: [BenchPeer: [Double]]] = [:]
    var failures: [String] = []
    var oursFail = false
  }

  func run() throws {
    let place =
      try directory.map { try TemporaryDirectory(in: $0) } ?? TemporaryDirectory(inMemory: true)
    let material = Material(
      fileCount: quick ? 1_000 : files, in: try TemporaryDirectory(inMemory: true))
    var remarks: [String] = []
    let applications = try wanted(Applications.all(material), &remarks)
    let peers = try BenchPeer.present(
      peers, among: BenchPeer.allCases.filter { $0 != .emptyServer })
    guard !peers.isEmpty, !applications.isEmpty else {
      throw ValidationError("there is nothing to measure")
    }

    let samples = Samples()
    let repetitions = quick ? 1 : repetitions
    for repetition in 1...repetitions {
      try pass(repetition, of: repetitions, applications, peers, place, samples)
    }
    remarks += samples.failures
    let rows = applications.compactMap { application -> BenchReport.Row? in
      guard let figures = samples.figures[application.key] else { return nil }
      return BenchReport.Row(
        name: application.name, unit: application.unit,
        results: peers.compactMap { peer in
          figures[peer].map { BenchReport.Result(subject: peer.rawValue, samples: $0) }
        })
    }
    let programs = Set(applications.flatMap(\.programs)).sorted()
    try output.publish([
      BenchReport(
        command: "applications",
        options: [
          "files": "\(material.fileCount)", "repetitions": "\(repetitions)",
          "directory": directory ?? "in memory",
        ],
        subjects: peers.map(\.rawValue), rows: rows,
        versions: Machine.versions(
          of: ["fsmount", "fuse2fs", "ntfs-3g", "mkfs.btrfs"] + programs), remarks: remarks)
    ])
    if samples.oursFail { throw ExitCode.failure }
  }

  /// The applications that are asked for and can run. Says of the others why they do not.
  private func wanted(
    _ applications: [any Application], _ remarks: inout [String]
  ) throws -> [any Application] {
    let keys = only.map { $0.split(separator: ",").map(String.init) }
    if let unknown = keys?.first(where: { key in !applications.contains { $0.key == key } }) {
      throw ValidationError("there is no row '\(unknown)'")
    }
    return applications.filter { application in
      guard keys?.contains(application.key) ?? true else { return false }
      let missing = application.programs.filter { Programs.find($0) == nil }
      guard !missing.isEmpty else { return true }
      remarks.append(
        "\(application.name) is left out: \(missing.joined(separator: ", ")) is not installed.")
      standardError(remarks.last ?? "")
      return false
    }
  }

  private func pass(
    _ repetition: Int, of repetitions: Int, _ applications: [any Application],
    _ peers: [BenchPeer], _ place: TemporaryDirectory, _ samples: Samples
  ) throws {
    var places: [Workplace] = []
    for peer in peers { places.append(try Workplace(peer, in: place, megabytes: 6144)) }
    for (number, application) in applications.enumerated() {
      // Each goes first in turn.
      let shift = (repetition + number) % places.count
      for place in places[shift...] + places[..<shift] {
        measure(application, place, samples)
      }
      standardError("repetition \(repetition) of \(repetitions): \(application.name) done")
    }
    for place in places {
      do {
        try place.end()
      } catch {
        note("\(place.peer.rawValue) ends badly: \(error)", place.peer, samples)
      }
    }
  }

  private func measure(_ application: any Application, _ place: Workplace, _ samples: Samples) {
    do {
      try application.prepare(place)
      let figure = try application.run(place)
      try application.verify(place)
      try place.sync()
      samples.figures[application.key, default: [:]][place.peer, default: []].append(figure)
    } catch {
      note("\(place.peer.rawValue) fails, \(application.name): \(error)", place.peer, samples)
    }
  }

  private func note(_ failure: String, _ peer: BenchPeer, _ samples: Samples) {
    standardError(failure)
    let line = failure.split(separator: "\n").first.map(String.init) ?? failure
    if !samples.failures.contains(line) { samples.failures.append(line) }
    if BenchPeer.ours.contains(peer) { samples.oursFail = true }
  }
}
