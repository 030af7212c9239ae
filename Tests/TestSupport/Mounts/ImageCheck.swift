/// `btrfs check` as a judge: its exit status and every word of its report.
package struct ImageCheck {
  package let result: CommandResult
  /// Groups whose cache describes too little free space, or cannot be read. The kernel leaves such
  /// caches behind now and then, and checking does not count them as errors; in an image that we
  /// wrote they are one.
  package let doubtfulCaches: Set<Int>
  /// All other lines that are neither headings nor figures.
  package let complaints: [String]

  package init(_ image: String, timeout: Double = 300) throws {
    result = try Shell.run("btrfs", "check", "--check-data-csum", image, timeout: timeout)
    var caches: Set<Int> = []
    var others: [String] = []
    for line in result.text.split(separator: "\n").map(String.init) where Self.isComplaint(line) {
      if let group = blockGroup(inCacheComplaint: line) {
        caches.insert(group)
      } else {
        others.append(line)
      }
    }
    doubtfulCaches = caches
    complaints = others
  }

  /// Throws unless the image is sound in every respect that `btrfs check` knows.
  /// `tolerated` are groups whose cache the kernel left in doubt before. `mayDisownCaches` says that the
  /// superblock need not vouch for any.
  package func expectSound(
    tolerated: Set<Int> = [], mayDisownCaches: Bool = false
  ) throws {
    let complaints = complaints.filter { line in
      !(mayDisownCaches && line.hasPrefix("cache and super generation don't match"))
    }
    guard result.succeeded, complaints.isEmpty, result.text.contains("no error found"),
      doubtfulCaches.isSubset(of: tolerated)
    else {
      throw TestFailure("btrfs check is not content\n\(result.summary)")
    }
  }

  package static func expectSound(_ image: String) throws {
    try ImageCheck(image).expectSound()
  }

  private static func isComplaint(_ line: String) -> Bool {
    let lower = line.lowercased()
    if lower.hasPrefix("[") && lower.contains("] checking") { return false }
    if lower.contains("no error found") { return false }
    return suspicious.contains { lower.contains($0) }
  }

  private static let suspicious = [
    "error", "failed", "invalid", "mismatch", "missing", "corrupt", "wrong", "bad ", "valid but",
    "cache", "warning", "unresolved", "leak", "orphan", "backpointer", "not match",
  ]
}

/// The group that a line of `btrfs check` or of the kernel is about, if the line says that its
/// cache was not believed.
package func blockGroup(inCacheComplaint line: String) -> Int? {
  guard
    line.contains("has wrong amount of free space")
      || line.contains("failed to load free space cache"),
    let after = line.split(separator: " ").drop(while: { $0 != "group" }).dropFirst().first
  else { return nil }
  return Int(after.prefix { $0.isNumber })
}
