import TestSupport

/// Something that people do with a file system, and what it takes.
protocol Application: AnyObject {
  /// What `--only` calls it.
  var key: String { get }
  /// Its row in the table.
  var name: String { get }
  var unit: String { get }
  /// What has to be installed.
  var programs: [String] { get }

  /// Puts in place what `run` needs. Not measured.
  func prepare(_ place: Workplace) throws
  /// Returns seconds, or how much was done in one.
  func run(_ place: Workplace) throws -> Double
  /// Throws unless what `run` did is in the file system, as it should be. Not measured.
  func verify(_ place: Workplace) throws
}

extension Application {
  var unit: String { "s" }
  func prepare(_ place: Workplace) throws {}
}

enum Applications {
  /// In the order in which they run: each finds what those before left behind.
  static func all(_ material: Material) -> [any Application] {
    [
      UntarApplication(material), FindApplication(material, bySize: false),
      FindApplication(material, bySize: true), GrepApplication(material),
      CopyApplication(material), GitStatusApplication(material), GitCheckoutApplication(material),
      RemoveApplication(material), BuildApplication(material),
      SQLiteApplication(material, .wal), SQLiteApplication(material, .rollback),
      PgbenchApplication(material), FioApplication(material), CreateApplication(material),
    ]
  }
}
