import Glibc
import TestSupport
import Testing

extension MountTests {
  /// What `btrfs filesystem usage` tells of a loop mount, `fsmount usage` tells of the same image.
  @Suite(.timeLimit(.minutes(5))) struct UsageTests {
    /// Names and numbers of the lines that both print, in plain bytes. The global reserve is each
    /// side's own, and so is what statfs makes of it.
    private static func figures(_ text: String) -> [String: String] {
      var figures: [String: String] = [:]
      var section = ""
      for line in text.split(separator: "\n") {
        let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" }).map(String.init)
        if !line.hasPrefix(" ") { section = words.first ?? "" }
        let parts = line.split(separator: ":", maxSplits: 1)
        guard parts.count == 2 else {
          // A device in a section: its bytes, whatever it is called.
          if let last = words.last, line.hasPrefix(" ") { figures["\(section) device"] = last }
          continue
        }
        let name = parts[0].trimmed
        guard !["Global reserve", "Free (statfs, df)"].contains(name) else { continue }
        figures[name] = parts[1].split(whereSeparator: { " \t".contains($0) }).joined(
          separator: " ")
      }
      // Where block groups are mixed the reserve is taken off what is free.
      if figures.keys.contains(where: { $0.hasPrefix("Data+Metadata") }),
        let reserve = number("Global reserve:", text), let free = number("Free (estimated):", text)
      {
        figures["Free (estimated)"] = "\(free + reserve)"
      }
      return figures
    }

    private static func number(_ name: String, _ text: String) -> Int? {
      let line = text.split(separator: "\n").first { $0.contains(name) }
      return line?.split(separator: ":", maxSplits: 1).last
        .flatMap { Int($0.trimmed.prefix { $0.isNumber }) }
    }

    @Test(
      .needsRoot, .timeLimit(.minutes(2)),
      arguments: [
        ["--size", "1G"], ["--size", "256M", "--mixed"], ["--size", "4G", "--metadata", "single"],
        ["--size", "2G", "--data", "dup", "--space-cache", "v2"],
      ])
    func theSameAsBtrfs(options: [String]) throws {
      let scratch = try Scratch()
      try FsmountProgram.run(["mkfs"] + options + [scratch.image]).orThrow()
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      for number in 0..<6 {
        try scratch.write("f\(number)", seed: 1, length: (number * 3 + 1) << 20)
      }
      try FsmountProgram.run("sync", scratch.mountPoint).orThrow()
      let online = try FsmountProgram.run("usage", "-b", scratch.mountPoint).orThrow().output
      let byImage = try FsmountProgram.run("usage", "-b", scratch.image).orThrow().output
      #expect(Self.figures(online) == Self.figures(byImage), "the image's name leads to its mount")
      try mounted.unmount()

      let ours = try FsmountProgram.run("usage", "-b", scratch.image).orThrow().output
      // The last commit may have freed and taken a few blocks.
      let kernel = try scratch.mountByKernel("ro,noatime")
      defer { try? kernel.unmount() }
      let theirs = try Shell.run("btrfs", "filesystem", "usage", "-b", scratch.mountPoint)
        .orThrow().output
      let (a, b) = (Self.figures(ours), Self.figures(theirs))
      #expect(a == b, "\(ours)\n\(theirs)")
      #expect(a.count >= 12, "too little was compared: \(a)")
      #expect(Self.figures(online)["Device allocated"] == a["Device allocated"])
    }

    @Test(.needsFuse, .timeLimit(.minutes(1))) func text() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "1G")
      let text = try FsmountProgram.run("usage", scratch.image).orThrow().output
      for word in [
        "Overall:", "1.00 GiB", "Metadata ratio:", "2.00", "Data,single:", scratch.image,
      ] {
        #expect(text.contains(word), "\(word) in:\n\(text)")
      }
      let json = try FsmountProgram.run("usage", "--json", scratch.image).orThrow().output
      #expect(json.contains(#""device_size" : 1073741824"#), "\(json)")
    }
  }
}

extension StringProtocol {
  fileprivate var trimmed: String {
    String(drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed())
  }
}
