/// What is measured, in the order of the table.
enum BenchMetric: String, CaseIterable {
  case sequentialWrite = "sequential write, 1 MiB blocks, with fsync"
  case sequentialRead = "sequential read, 1 MiB blocks"
  case randomRead = "random read, 4 KiB"
  case randomWrite = "random write, 4 KiB, with fsync"
  case create = "create empty files"
  case sharedCreate = "create empty files, 4 threads in one directory"
  case stat = "stat"
  case listing = "readdir, names"
  case listingStat = "readdir and stat"
  case rename = "rename"
  case unlink = "unlink"
  case setAttribute = "setxattr"
  case smallWrite = "write small files, 4 KiB"
  case smallRead = "read small files, 4 KiB"
  case writeSync = "write 4 KiB and fsync"
  case sharedSync = "write 4 KiB and fsync, 8 threads"

  /// Megabytes a second rather than operations.
  var isThroughput: Bool { self == .sequentialWrite || self == .sequentialRead }

  var unit: String { isThroughput ? "MB/s" : "ops/s" }
}
