/// The sizes of a comparison.
struct BenchOptions {
  var megabytes = 1024
  var files = 5_000
  var randomCount = 20_000
  var syncCount = 200
  /// Leaves all rows out but those of fsync.
  var syncOnly = false

  static let quick = BenchOptions(
    megabytes: 128, files: 1_000, randomCount: 4_000, syncCount: 50)
}
