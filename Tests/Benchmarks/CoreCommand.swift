import ArgumentParser
import FSCore
import TestSupport

struct CoreCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "core",
    abstract: "Measures the file system core in this process, without FUSE.",
    discussion: """
      Prints a table in Markdown. Times per operation are processor time of the whole process; \
      the image is a file in memory.
      """,
    aliases: ["core-bench"])

  @Option(help: "Number of files.")
  var files = 20_000

  @Option(help: "Size of the file that is read in one go, in MiB.")
  var megabytes = 512

  @Option(help: "Number of block groups that a commit changes.")
  var groups = 16

  @Option(help: "Number of commits of one small file.")
  var commits = 1_000

  enum Part: String, CaseIterable, ExpressibleByArgument {
    case names, reads, checksums, commits, groups, shared
  }

  @Option(help: "What is measured: \(Part.allCases.map(\.rawValue).joined(separator: ", ")).")
  var part: [Part] = Part.allCases

  func run() throws {
    let directory = try TemporaryDirectory(inMemory: true)
    let sizeBytes = UInt64(megabytes) << 20 + UInt64(groups + 6) << 30
    let bench = try CoreBench(
      image: directory.file("core.img"), sizeBytes: sizeBytes)
    if part.contains(.names) { try bench.names(count: files) }
    if part.contains(.reads) {
      try bench.smallReads(count: files * 10)
      try bench.sequentialRead(megabytes: megabytes)
    }
    if part.contains(.checksums) { try bench.checksums(megabytes: 4096) }
    if part.contains(.commits) { try bench.smallCommits(count: commits) }
    if part.contains(.groups) { try bench.groupCommits(groups: groups) }
    try bench.end()
    var rows = bench.rows
    if part.contains(.groups) {
      let tree = try CoreBench(
        image: directory.file("tree.img"), sizeBytes: sizeBytes, record: .v2)
      try tree.groupCommits(groups: groups)
      try tree.end()
      rows += tree.rows
    }
    let shared = try (part.contains(.shared) ? [1, 8] : []).map {
      try SharedCommitBench.run(
        threads: $0, callsEach: max(commits / 5, 1), flushMicroseconds: 2_000)
    }

    say("| in-process, without FUSE | |\n|---|---:|")
    for row in rows { say("| \(row.what) | \(row.figure) |") }
    for result in shared {
      let threads = result.threads == 1 ? "1 thread" : "\(result.threads) threads"
      let what = "write 4 KiB and synchronize, \(threads), a flush takes 2 ms"
      say("| \(what) | \(rounded(result.rate))/s |")
      say("| … of them share a commit | \(rounded(result.callsPerCommit)) |")
    }
  }
}
