import FSCore
import Testing

@testable import fsmount

@Suite(.timeLimit(.minutes(1))) struct BalanceArgumentsTests {
  private func start(_ arguments: String...) throws -> BalanceStart? {
    try Main.command(["balance", "start"] + arguments) as? BalanceStart
  }

  /// As btrfs takes them: the filters follow the letter, or are left out.
  @Test func filtersOfEachType() throws {
    let command = try #require(
      try start("-dusage=50,limit=2", "-m", "-sconvert=dup,soft", "-f", "/mnt"))
    #expect(command.data == "usage=50,limit=2" && command.metadata == "all")
    #expect(command.system == "convert=dup,soft" && command.force && command.path == "/mnt")
    #expect(!command.background)

    let plain = try #require(try start("/mnt"))
    #expect(plain.data == nil && plain.metadata == nil && plain.system == nil)
    let long = try #require(try start("--data=usage=0", "--background", "/mnt"))
    #expect(long.data == "usage=0" && long.background)
  }

  /// As with btrfs, what is said of metadata is for system block groups as well, unless they have
  /// filters of their own.
  @Test func systemGoesWithMetadata() throws {
    func call(_ arguments: String...) throws -> BalanceStartCall {
      let command = try Main.command(["balance", "start"] + arguments + ["/mnt"])
      return try #require(command as? BalanceStart).call
    }
    let both = try call("-mprofiles=dup")
    #expect(both.data == nil && both.metadata == "profiles=dup" && both.system == "profiles=dup")
    let own = try call("-mlimit=1", "-slimit=2", "-f")
    #expect(own.metadata == "limit=1" && own.system == "limit=2" && own.force == true)
    let data = try call("-d")
    #expect(data.data == "" && data.metadata == nil && data.system == nil)
    let all = try call()
    #expect(all.data == "" && all.metadata == "" && all.system == "" && all.force == nil)
    // Filters of its own need force, also where they are those of metadata.
    let command = try #require(try start("-m", "-s", "/mnt"))
    #expect {
      try command.run()
    } throws: {
      "\($0)".contains("--force")
    }
  }

  @Test func nothingElseIsChanged() {
    let arguments = ["mount", "-d", "-s", "image", "mount"]
    #expect(BalanceStart.expanded(arguments) == arguments)
    #expect(BalanceStart.expanded([]) == [])
  }

  @Test func plans() throws {
    let plan = try BalanceStartCall(data: "usage=10", metadata: nil, system: "", force: true).plan()
    #expect(plan.data?.usage == 0..<10 && plan.metadata == nil && plan.isForced)
    #expect(plan.system == BalanceFilter())
    for nonsense in ["usage", "usage=200", "soft", "colour=red", "limit=-1", ","] {
      #expect(throws: FilesystemError.self) {
        try BalanceStartCall(data: nonsense, metadata: nil, system: nil, force: nil).plan()
      }
    }
  }

  @Test func words() {
    var status = BalanceStatus()
    #expect(BalanceText(BalanceReport(status)).lines("/m") == ["/m: no balance is running"])
    status.phase = .running
    status.plan = .all
    (status.expected, status.done) = (12, 3)
    (status.bytesExpected, status.bytesMoved) = (4 << 30, 1 << 30)
    status.progress = 0.25
    let lines = BalanceText(BalanceReport(status)).lines("/m")
    #expect(lines[1] == "  moves data (all), metadata (all)")
    #expect(lines[2] == "  3 of 12 block groups moved, 1.00 GiB of 4.00 GiB")
    let bar = BalanceText(BalanceReport(status)).progress(.plain, width: 100)
    #expect(bar.hasPrefix("########.") && bar.contains(" 25% "))
    // It is not said to be done before it is.
    var nearly = BalanceReport(status)
    nearly.progress = 0.999
    #expect(BalanceText(nearly).progress(.plain, width: 40).contains(" 99%"))
    nearly.progress = 1
    #expect(BalanceText(nearly).progress(.plain, width: 40).contains(" 100%"))
    // As much as there is room for, and never more.
    for style in [TextStyle.plain, TextStyle(hasColor: false, hasUnicode: true)] {
      for width in 0...120 {
        let line = BalanceText(BalanceReport(status)).progress(style, width: width)
        #expect(line.count <= width, "\(line)")
        #expect(line.contains("25%") == (width >= 5), "\(line)")
        #expect(line.contains("1.00 GiB of 4.00 GiB") == (width >= 64), "\(line)")
      }
    }
    status.phase = .none
    status.outcome = .noSpace(groups: 1)
    #expect(
      BalanceText(BalanceReport(status)).lines("/m")[0].contains(
        "no room for what is in 1 block group"))
  }
}
