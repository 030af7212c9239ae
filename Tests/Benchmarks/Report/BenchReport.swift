import FoundationEssentials
import TestSupport

/// What a run has measured, in the form of its result file.
struct BenchReport: Codable, Equatable {
  /// Of the file.
  var format = 1
  /// The subcommand, which says what the rows are.
  var command: String
  var date: String
  var commit: String
  var machine: Machine
  /// Of the programs that took part, by their names.
  var versions: [String: String]
  var options: [String: String]
  /// What was measured side by side, in the order of the columns.
  var subjects: [String]
  var rows: [Row]
  var means: [Mean] = []
  /// What is not there, and why: one sentence each.
  var remarks: [String] = []

  struct Row: Codable, Equatable {
    var name: String
    /// `s` where less is better; else what is done in a second.
    var unit: String
    var results: [Result]

    var isDuration: Bool { unit == "s" }

    func result(of subject: String) -> Result? { results.first { $0.subject == subject } }

    /// How many times as fast one subject is as another.
    func ratio(of subject: String, to other: String) -> Double? {
      guard let mine = result(of: subject)?.median, let theirs = result(of: other)?.median,
        mine > 0, theirs > 0
      else { return nil }
      return isDuration ? theirs / mine : mine / theirs
    }
  }

  struct Result: Codable, Equatable {
    var subject: String
    var samples: [Double]
    var median: Double
    /// Speeds as multiples; filled in by `completed`.
    var timesKernel: Double?
    var timesFsmount: Double?

    init(subject: String, samples: [Double]) {
      self.subject = subject
      self.samples = samples
      median = samples.median ?? 0
    }
  }

  /// A geometric mean of ratios.
  struct Mean: Codable, Equatable {
    var subject: String
    /// A subject, or `bestPeer`.
    var against: String
    var ratio: Double
    var rows: Int
  }

  static let bestPeer = "the best FUSE peer of each row"

  // What follows from the samples.

  /// With medians, ratios and means computed anew.
  var completed: BenchReport {
    var report = self
    for row in report.rows.indices {
      for index in report.rows[row].results.indices {
        report.rows[row].results[index].median =
          report.rows[row].results[index].samples.median ?? 0
      }
      // Ratios are those of the new medians.
      let known = report.rows[row]
      for index in known.results.indices {
        let subject = known.results[index].subject
        report.rows[row].results[index].timesKernel =
          known.ratio(of: subject, to: BenchPeer.kernel.rawValue)
        report.rows[row].results[index].timesFsmount =
          known.ratio(of: subject, to: BenchPeer.fsmount.rawValue)
      }
    }
    report.means = report.computedMeans
    return report
  }

  /// The geometric mean of one subject's speed as a multiple of another's, over the rows that have
  /// both.
  func mean(of subject: String, against other: String) -> Mean? {
    mean(subject, other) { $0.ratio(of: subject, to: other) }
  }

  /// The same against the fastest of the other FUSE servers, row by row.
  func meanAgainstBestPeer(of subject: String) -> Mean? {
    mean(subject, Self.bestPeer) { row in
      BenchPeer.foreign.compactMap { row.ratio(of: subject, to: $0.rawValue) }.min()
    }
  }

  private func mean(_ subject: String, _ other: String, _ ratio: (Row) -> Double?) -> Mean? {
    let ratios = rows.compactMap(ratio)
    guard let mean = ratios.geometricMean else { return nil }
    return Mean(subject: subject, against: other, ratio: mean, rows: ratios.count)
  }

  private var computedMeans: [Mean] {
    BenchPeer.ours.map(\.rawValue).filter(subjects.contains).flatMap { subject in
      [
        mean(of: subject, against: BenchPeer.kernel.rawValue),
        meanAgainstBestPeer(of: subject),
        mean(of: subject, against: BenchPeer.fuse2fs.rawValue),
        mean(of: subject, against: BenchPeer.emptyServer.rawValue),
      ].compactMap { $0 }
    }
  }

  /// Runs of the same command as one: rows that both have get the samples of both. What describes the
  /// run is the first one's.
  func joined(with other: BenchReport) -> BenchReport {
    var report = self
    report.subjects += other.subjects.filter { !subjects.contains($0) }
    report.remarks += other.remarks.filter { !remarks.contains($0) }
    report.versions.merge(other.versions) { first, _ in first }
    for row in other.rows {
      guard let place = report.rows.firstIndex(where: { $0.name == row.name }) else {
        report.rows.append(row)
        continue
      }
      for result in row.results {
        let known = report.rows[place].results.firstIndex { $0.subject == result.subject }
        if let known {
          report.rows[place].results[known].samples += result.samples
        } else {
          report.rows[place].results.append(result)
        }
      }
    }
    return report.completed
  }

  // The file.

  var json: [UInt8] {
    get throws {
      let encoder = JSONEncoder()
      encoder.keyEncodingStrategy = .convertToSnakeCase
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
      return [UInt8](try encoder.encode(self)) + [UInt8(ascii: "\n")]
    }
  }

  init(json: [UInt8]) throws {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    self = try decoder.decode(BenchReport.self, from: Data(json))
    guard format == 1 else { throw TestFailure("result files of format \(format) are not known") }
  }

  init(
    command: String, options: [String: String], subjects: [String], rows: [Row],
    versions: [String: String] = [:], remarks: [String] = []
  ) {
    self.command = command
    self.options = options
    self.subjects = subjects
    self.rows = rows
    self.versions = versions
    self.remarks = remarks
    date = Machine.now
    commit = Machine.commit
    machine = Machine.this
    self = completed
  }
}
