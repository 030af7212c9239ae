import Glibc
import TestSupport

/// Where a run took place.
struct Machine: Codable, Equatable {
  var processor: String
  var processors: Int
  var memoryMebibytes: Int
  var kernel: String
  var system: String

  static var this: Machine {
    Machine(
      processor: value(of: "model name", in: "/proc/cpuinfo", ":") ?? "unknown",
      processors: sysconf(Int32(_SC_NPROCESSORS_ONLN)),
      memoryMebibytes: (value(of: "MemTotal", in: "/proc/meminfo", ":")?
        .split(separator: " ").first.flatMap { Int($0) } ?? 0) / 1024,
      kernel: firstLine(of: readText("/proc/sys/kernel/osrelease")) ?? "unknown",
      system: value(of: "PRETTY_NAME", in: "/etc/os-release", "=") ?? "unknown")
  }

  /// `2 processors (…), 24105 MiB, Linux 6.18.44, Debian GNU/Linux 12`
  var text: String {
    let count = processors == 1 ? "1 processor" : "\(processors) processors"
    return "\(count) (\(processor)), \(memoryMebibytes) MiB, Linux \(kernel), \(system)"
  }

  private static func value(of key: String, in file: String, _ separator: Character) -> String? {
    for line in readText(file).split(separator: "\n") {
      let parts = line.split(separator: separator, maxSplits: 1)
      guard parts.count == 2, trimmed(parts[0]) == key else { continue }
      return trimmed(parts[1])
    }
    return nil
  }

  private static func trimmed(_ text: Substring) -> String {
    let edge: (Character) -> Bool = { $0.isWhitespace || $0 == "\"" }
    var text = text.drop(while: edge)
    while let last = text.last, edge(last) { text.removeLast() }
    return String(text)
  }

  private static func firstLine(of text: String) -> String? {
    text.split(separator: "\n").first.map { trimmed($0) }
  }

  /// `2026-11-29T16:24:21Z`
  static var now: String {
    var seconds = time(nil)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    var buffer = [CChar](repeating: 0, count: 32)
    let count = strftime(&buffer, buffer.count, "%Y-%m-%dT%H:%M:%SZ", &parts)
    return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// That of the checkout, with a plus where files differ from it.
  static var commit: String {
    let checkout = BytePath(#filePath).parent.parent.parent.parent.string
    func git(_ arguments: String...) -> String? {
      guard Shell.find("git") != nil,
        let result = try? Shell.run(["git", "-C", checkout] + arguments), result.succeeded
      else { return nil }
      return result.output
    }
    guard let hash = git("rev-parse", "--short=12", "HEAD").flatMap(firstLine) else {
      return "unknown"
    }
    return git("status", "--porcelain", "--untracked-files=no")?.isEmpty == true ? hash : hash + "+"
  }

  /// What each program says of its version, in its first line. A program that is not there is left
  /// out.
  static func versions(of programs: [String]) -> [String: String] {
    var versions: [String: String] = [:]
    for program in programs {
      guard let path = program == "fsmount" ? FsmountProgram.path : Programs.find(program) else {
        continue
      }
      // fuse2fs knows the short form only, and calls it an error.
      let option = program == "fuse2fs" ? "-V" : "--version"
      guard let result = try? Shell.run([path, option]) else { continue }
      versions[program] = firstLine(of: result.text)
    }
    return versions
  }
}
