import ArgumentParser
import TestSupport

struct CoreBenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "core-bench",
    abstract: "Measures the file system core in this process, without FUSE.",
    discussion: """
      Prints a table in Markdown. Times per operation are processor time of the whole process; \
      the image is a file in memory.
      """)

  @Option(help: "Number of files.")
  var files = 20_000

  @Option(help: "Size of the file that is read in one go, in MiB.")
  var megabytes = 512

  @Option(help: "Number of block groups with a cache.")
  var groups = 16

  @Option(help: "Number of commits of one small file.")
  var commits = 1_000

  func run() throws {
    let directory = try TemporaryDirectory(inMemory: true)
    let bench = try CoreBench(
      image: directory.file("core.img"),
      sizeBytes: UInt64(megabytes) << 20 + UInt64(groups + 6) << 30)
    try bench.names(count: files)
    try bench.smallReads(count: files * 10)
    try bench.sequentialRead(megabytes: megabytes)
    try bench.smallCommits(count: commits)
    try bench.groupCommits(groups: groups)
    try bench.end()

    say("| in-process, without FUSE | |\n|---|---:|")
    for row in bench.rows { say("| \(row.what) | \(row.figure) |") }
  }
}
