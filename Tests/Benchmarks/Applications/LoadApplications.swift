import FoundationEssentials
import Glibc
import TestSupport

/// Random reads and writes of 4 KiB in one file, 32 of them under way at a time.
final class FioApplication: Application {
  let key = "fio"
  let name = "fio, random read and write, 4 KiB, queue depth 32"
  let unit = "ops/s"
  let programs = ["fio"]
  private let material: Material
  private static let megabytes = 256
  private static let verifiedMegabytes = 32

  init(_ material: Material) { self.material = material }

  private struct Output: Decodable {
    var jobs: [Job]

    struct Job: Decodable {
      var error: Int
      var read, write: Direction
    }

    struct Direction: Decodable { var iops: Double }
  }

  @discardableResult
  private func fio(_ file: String, _ megabytes: Int, _ arguments: String...) throws -> Double {
    let result = material.file("fio.json")
    unlink(result)
    let common = [
      "--name=bench", "--filename=\(file)", "--size=\(megabytes)M", "--bs=4k", "--ioengine=libaio",
      "--iodepth=32", "--direct=1", "--randseed=7", "--fallocate=none", "--output-format=json",
      "--output=\(result)",
    ]
    try Shell.output([try Programs.required("fio")] + common + arguments)
    let output = try JSONDecoder().decode(
      Output.self, from: Data(readFile(BytePath(result))))
    guard let job = output.jobs.first, job.error == 0 else { throw TestFailure("fio fails") }
    return job.read.iops + job.write.iops
  }

  func prepare(_ place: Workplace) throws {
    var random = SeededRandom(seed: 5)
    var bytes = [UInt8](repeating: 0, count: Self.megabytes << 20)
    bytes.withUnsafeMutableBytes { random.fillNonZero($0) }
    try writeFile(BytePath(place.path("fio")), bytes)
    try place.sync()
    try place.remount()
  }

  func run(_ place: Workplace) throws -> Double {
    try fio(
      place.path("fio"), Self.megabytes, "--rw=randrw", "--norandommap", "--time_based",
      "--runtime=4", "--end_fsync=1")
  }

  /// Writes blocks that say where they belong, and looks at them in a mount made anew.
  func verify(_ place: Workplace) throws {
    let checked = ["--rw=randwrite", "--verify=crc32c", "--verify_state_save=0"]
    let file = place.path("fio-verified")
    try fio(file, Self.verifiedMegabytes, checked[0], checked[1], checked[2], "--do_verify=0")
    try place.sync()
    try place.remount()
    try fio(file, Self.verifiedMegabytes, checked[0], checked[1], checked[2], "--verify_only=1")
    unlink(file)
    unlink(place.path("fio"))
  }
}

/// Four threads that make empty files in one directory.
final class CreateApplication: Application {
  let key = "create"
  let name = "create in one directory, 4 threads"
  let unit = "ops/s"
  let programs: [String] = []
  private let each: Int
  private static let threads = 4

  init(_ material: Material) { each = max(material.fileCount / 2 / Self.threads, 1) }

  func prepare(_ place: Workplace) throws {
    try Shell.output("rm", "-rf", place.path("shared"))
    try place.remount()
  }

  func run(_ place: Workplace) throws -> Double {
    let (folder, each) = (place.path("shared"), each)
    let seconds = try place.secondsUntilDurable {
      try check("mkdir \(folder)") { mkdir(folder, 0o755) }
      try onThreads(Self.threads) { thread in
        for index in 0..<each {
          let path = "\(folder)/\(thread)-\(index)"
          close(try check("create \(path)") { open(path, O_CREAT | O_EXCL | O_WRONLY, 0o644) })
        }
      }
    }
    return Double(Self.threads * each) / seconds
  }

  func verify(_ place: Workplace) throws {
    try place.remount()
    let names = Set(try directoryNames(BytePath(place.path("shared"))))
    let wanted = Set(
      (0..<Self.threads).flatMap { thread in
        (0..<each).map { Array("\(thread)-\($0)".utf8) }
      })
    guard names == wanted else {
      throw TestFailure("the directory has \(names.count) of \(wanted.count) names")
    }
  }
}
