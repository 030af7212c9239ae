import Testing

@testable import FSCore

/// What a balance is told to do, as text and as the item on disk.
@Suite(.timeLimit(.minutes(1))) struct BalanceFilterTests {
  @Test func readsEveryFilter() throws {
    let filter = try BalanceFilter(
      text: "usage=10..90,limit=2..5,vrange=1000..9999,devid=1,drange=..77,convert=single,soft,"
        + "profiles=dup|single,stripes=1..2")
    #expect(filter.usage == 10..<90)
    #expect(filter.limit == 2...5)
    #expect(filter.range == 1000..<9999)
    #expect(filter.device == 1)
    #expect(filter.deviceRange == 0..<77)
    #expect(filter.target == .single)
    #expect(filter.isSoft)
    #expect(filter.profiles == [.dup, .single])
    let half = try BalanceFilter(text: "usage=50")
    #expect(half.usage == 0..<50)
    let empty = try BalanceFilter(text: "usage=0")
    #expect(empty.usage == 0..<0)
    let three = try BalanceFilter(text: "limit=3")
    #expect(three.limit == 0...3)
    let none = try BalanceFilter(text: "")
    #expect(none == BalanceFilter())
  }

  @Test(arguments: [
    "usage=101", "usage=x", "usage=", "usage", "use=3", "limit=9..2", "limit=-1", "soft",
    "soft=1", "convert=raid1", "profiles=dup|", "drange=1..2", "vrange=5", "vrange=..",
    "devid=0", "usage=50,,soft", "limit=99999999999", "stripes=2", "vrange=5..5", "vrange=..0",
    "devid=1,drange=7..7", "vrange=18446744073709551615..",
  ]) func refuses(text: String) {
    #expect {
      _ = try BalanceFilter(text: text)
    } throws: { error in
      guard case FilesystemError.invalidArgument(let why) = error else { return false }
      return !why.isEmpty
    }
  }

  @Test func itemKeepsThePlan() throws {
    var plan = BalancePlan()
    plan.data = try BalanceFilter(text: "usage=10..90,limit=2..5,vrange=1000..9999,devid=1")
    plan.metadata = try BalanceFilter(text: "convert=single,soft,drange=4..9,devid=2")
    plan.system = try BalanceFilter(text: "profiles=dup|single")
    plan.isForced = true
    var bytes = [UInt8](repeating: 0xee, count: BalanceItem.size)
    bytes.withUnsafeMutableBytes { BalanceItem(plan: plan).encode(into: $0) }
    // As the kernel writes it: the flags, and the target of the metadata.
    #expect(bytes[0] == 15)
    try bytes.withUnsafeBytes { bytes in
      #expect(bytes.u64(8 + 136 + 56) == 1 << 48)
      #expect(bytes.u64(8 + 136 + 64) == 0x30c)
      let item = try BalanceItem(bytes.bytes)
      #expect(item.plan == plan)
    }
  }

  private func chunk(
    _ start: UInt64, _ length: UInt64, _ flags: BlockGroupFlags, at places: [UInt64]
  ) -> Chunk {
    Chunk(
      start: LogicalAddress(start),
      item: ChunkItem(
        length: length, flags: flags, sectorSize: 4096,
        stripes: places.map {
          ChunkItem.Stripe(
            deviceID: 1, offset: PhysicalAddress($0),
            deviceUUID: [UInt8](repeating: 0, count: 16).withUnsafeBytes { $0.bytes.uuid(0) })
        }))
  }

  @Test func matchesAsLinuxDoes() throws {
    let single = chunk(1 << 30, 100 << 20, .data, at: [5 << 20])
    let dup = chunk(2 << 30, 100 << 20, [.metadata, .dup], at: [5 << 20, 500 << 20])
    func check(_ text: String, _ chunk: Chunk, used: UInt64, _ expected: Bool) throws {
      let filter = try BalanceFilter(text: text)
      #expect(filter.matches(chunk, used: used) == expected, "\(text) \(used)")
    }
    try check("", single, used: 100 << 20, true)
    try check("usage=50", single, used: (50 << 20) - 4096, true)
    try check("usage=50", single, used: 50 << 20, false)
    try check("usage=0", single, used: 0, true)
    try check("usage=0", single, used: 4096, false)
    try check("usage=100", single, used: 100 << 20, false)
    try check("usage=10..20", single, used: 10 << 20, true)
    try check("usage=10..20", single, used: 5 << 20, false)
    try check("usage=10..", single, used: 100 << 20, true)
    try check("devid=2", single, used: 0, false)
    try check("devid=1,drange=505000000..", dup, used: 0, true)
    try check("devid=1,drange=505000000..", single, used: 0, false)
    try check("vrange=0..1073741824", single, used: 0, false)
    try check("vrange=0..1073741825", single, used: 0, true)
    try check("convert=dup,soft", dup, used: 0, false)
    try check("convert=dup,soft", single, used: 0, true)
    try check("convert=dup", dup, used: 0, true)
    try check("profiles=dup", single, used: 0, false)
    try check("profiles=dup|single", single, used: 0, true)
  }
}
