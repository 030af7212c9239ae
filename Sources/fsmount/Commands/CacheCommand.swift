import ArgumentParser
import FSCore

struct CacheCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cache",
    abstract: "Show what an image records of its free space, without mounting it.",
    discussion: """
      The record is a cache for each block group (v1), or the free space tree (v2). Exits with 1 when \
      a part of it is stale or wrong, or when the image is damaged where that would \
      have to be found out.
      """)

  @Option(help: "Only the block group at this logical address.")
  var group: UInt64?

  @Flag(help: "List the entries of each block group.")
  var entries = false

  @Flag(help: "Compare the record with the extent tree.")
  var verify = false

  @Flag(help: "Print JSON.")
  var json = false

  @OptionGroup var image: InspectedImage

  func run() throws {
    let reader = try image.reader()
    let survey = CacheSurvey(reader)
    let chunks = reader.chunks.filter { group == nil || $0.start.rawValue == group }
    if let group, chunks.isEmpty {
      throw CommandFailure("\(image.path) has no block group at \(group)", status: .usage)
    }

    let groups = chunks.map { survey.survey($0, verify: verify, keepingEntries: entries) }
    let report = CacheReport(
      path: image.path, superblock: reader.superblock, record: survey.record,
      doubt: survey.generalDoubt, groups: groups,
      problems: reader.problems, isVerified: verify, showsEntries: entries)
    if json {
      print(report.json.text())
    } else {
      for line in report.lines(.ofStandardOutput()) { print(line) }
      for problem in reader.problems { StandardError.write("fsmount: \(image.path): \(problem)") }
    }
    if report.hasFindings { throw ExitCode(1) }
  }
}
