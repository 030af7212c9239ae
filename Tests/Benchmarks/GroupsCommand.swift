import ArgumentParser
import FSCore
import Glibc
import TestSupport

struct GroupsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "groups",
    abstract: "Measures commits, mounts and loading on images of many block groups.",
    discussion: """
      Prints a table in Markdown. Images are files in memory, sparse. The kernel's figures are those \
      of sync on the same image with space_cache=v1, as root.
      """)

  @Option(help: "Numbers of block groups, with commas.")
  var groups = "1000,16000"

  @Option(help: "Number of commits for each figure.")
  var rounds = 4

  @Flag(help: "Leaves the kernel's figures out.")
  var noKernel = false

  func run() throws {
    say("| commits and block groups of 1 GiB, v1 | |\n|---|---:|")
    try measureFew()
    for count in groups.split(separator: ",").compactMap({ Int($0) }) { try measure(count) }
  }

  /// The kernel takes minutes for a figure of more groups.
  private static let mostOfKernel = 1000

  /// What this process takes of the machine's memory.
  private static var residentMebibytes: Int {
    let lines = readText("/proc/self/status").split(separator: "\n")
    let line = lines.first { $0.hasPrefix("VmRSS:") }
    return (line?.split(whereSeparator: { !$0.isNumber }).first.flatMap { Int($0) } ?? 0) / 1024
  }

  private func row(_ what: String, _ figure: String) { say("| \(what) | \(figure) |") }

  private func milliseconds(_ seconds: Double) -> String { rounded(seconds * 1e3) + " ms" }

  private func microseconds(_ seconds: Double) -> String { rounded(seconds * 1e6) + " µs" }

  private func measureFew() throws {
    let directory = try TemporaryDirectory(inMemory: true)
    let bench = try GroupBench(path: directory.file("image"), groups: 5)
    try measureNewFile(bench, 5)
    let loading = try bench.loading()
    row(
      "first look for the free space of a fragmented group, in its cache, CPU",
      microseconds(loading.cache))
    row("… in the extent tree, CPU", microseconds(loading.scan))
    try bench.end()

    // With and without caches, on memory and on a device that takes its time.
    for flushMicroseconds in [0, 2000] as [UInt32] {
      var costs: [GroupBench.Cost] = []
      for record in [VolumeOptions.SpaceCache.v1, .none] {
        let path = directory.file("few")
        let few = try GroupBench(
          path: path, groups: 16, spaceCache: record, flushMicroseconds: flushMicroseconds)
        costs.append(try few.commits(changing: 16, rounds: 20))
        try few.end()
        unlink(path)
      }
      let device = flushMicroseconds == 0 ? "" : ", a flush takes 2 ms"
      row("16 groups: a commit that changes all\(device), wall", milliseconds(costs[0].wall))
      row("… without a record of free space, wall", milliseconds(costs[1].wall))
      row("… what the caches add, CPU", milliseconds(costs[0].cpu - costs[1].cpu))
    }
  }

  /// More groups make the trees higher, and each level of a tree is a block more to write.
  private func measureNewFile(_ bench: GroupBench, _ groups: Int) throws {
    let cost = try bench.newFileCommit(count: 500)
    row("\(groups) groups: a commit of one new file, CPU", microseconds(cost.cpu))
    row("… tree blocks that it writes", rounded(cost.blocks))
    row("… CPU for each of them", microseconds(cost.cpu / cost.blocks))
  }

  private func measure(_ count: Int) throws {
    let directory = try TemporaryDirectory(inMemory: true)
    let bench = try GroupBench(path: directory.file("image"), groups: count)
    try measureNewFile(bench, count)
    let one = try bench.commits(changing: 1, rounds: rounds)
    let all = try bench.commits(changing: count, rounds: rounds)
    row("\(count) groups: a commit that changes all, wall", milliseconds(all.wall))
    row("… CPU", milliseconds(all.cpu))
    row(
      "… each more group, wall",
      rounded((all.wall - one.wall) / Double(count - 1) * 1e6) + " µs")
    row("… each more group, CPU", rounded((all.cpu - one.cpu) / Double(count - 1) * 1e6) + " µs")
    row("… bytes of each group's cache", "\(all.bytes / UInt64(count))")
    let share = Double(all.early) / Double(max(all.bytes, 1)) * 100
    row("… of them written before the critical section", rounded(share) + " %")
    let pauses = try bench.pauses(threads: 2)
    if let longest = pauses.last {
      row(
        "… a write and a chmod beside it, 99th percentile, of \(pauses.count)",
        milliseconds(pauses[min(pauses.count * 99 / 100, pauses.count - 1)]))
      row("… the longest", milliseconds(longest))
    }
    row("… memory of the process then, cache=256M", "\(Self.residentMebibytes) MiB")
    row("\(count) groups: mounting", milliseconds(try bench.remount()))
    try bench.end()
    if noKernel || geteuid() != 0 || count > Self.mostOfKernel { return }
    let kernel = try bench.kernelSync(changing: count, rounds: 3, in: directory)
    // The first loads what is free.
    row(
      "\(count) groups: the kernel's sync after changing all",
      milliseconds(kernel.dropFirst().reduce(0, +) / Double(max(kernel.count - 1, 1))))
  }
}
