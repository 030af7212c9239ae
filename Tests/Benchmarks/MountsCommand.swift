import ArgumentParser
import TestSupport

struct MountsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mounts",
    abstract: "Compares fsmount with fuse2fs, ntfs-3g and the kernel's btrfs, side by side.",
    discussion: """
      Prints a table in Markdown: for each row the median of several interleaved repetitions, and \
      in brackets each peer's speed as a multiple of fsmount's.
      """)

  @Option(help: "Size of the large file in MiB.")
  var megabytes = 1024

  @Option(help: "Number of small files.")
  var files = 5_000

  @Option(help: "Repetitions, of which the median counts.")
  var repetitions = 3

  @Option(help: "Peers, separated by commas; all that are present if left out.")
  var peers: String?

  @Option(help: "Where the images are, on a disk for instance; in memory if left out.")
  var directory: String?

  @Flag(help: "Only the rows that make a little durable at a time.")
  var syncOnly = false

  @Flag(help: "A quick look with small sizes and one repetition.")
  var quick = false

  @Flag(help: "Fail when a row is slower than fuse2fs's.")
  var strict = false

  func run() throws {
    var options = quick ? BenchOptions.quick : BenchOptions()
    if !quick {
      options.megabytes = megabytes
      options.files = files
    }
    options.syncOnly = syncOnly
    let wanted = peers.map { Set($0.split(separator: ",").map(String.init)) }
    var present: [BenchPeer] = []
    for peer in BenchPeer.allCases where wanted?.contains(peer.rawValue) ?? true {
      if let obstacle = peer.obstacle {
        say("\(peer.rawValue) does not take part: \(obstacle)\n")
      } else {
        present.append(peer)
      }
    }
    let results = try measure(present, options, quick ? 1 : repetitions)
    let table = BenchTable(peers: present, results: results)
    say(table.text)
    let slower = table.slowerThanFuse2fs
    if !slower.isEmpty {
      say("\nSlower than fuse2fs: \(slower.joined(separator: "; ")).")
      if strict { throw ExitCode.failure }
    }
  }

  private func measure(
    _ peers: [BenchPeer], _ options: BenchOptions, _ repetitions: Int
  ) throws -> BenchTable.Results {
    let directory =
      try directory.map { try TemporaryDirectory(in: $0) }
      ?? TemporaryDirectory(inMemory: true)
    let mountPoint = try directory.directory("mount")
    let image = directory.file("bench.img")
    var results: BenchTable.Results = [:]
    for repetition in 1...repetitions {
      for peer in peers {
        let pass = try BenchPass(
          subject: peer, image: image, directory: mountPoint, options: options)
        do {
          try pass.run()
        } catch {
          standardError("\(peer.rawValue) fails: \(error)")
        }
        for (metric, figure) in pass.figures {
          results[metric, default: [:]][peer, default: []].append(figure)
        }
        standardError("repetition \(repetition): \(peer.rawValue) done")
      }
    }
    return results
  }
}
