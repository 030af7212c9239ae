import TestSupport
import Testing

@testable import FSCore

/// Balances that change how many copies there are; and system groups.
@Suite(.timeLimit(.minutes(5))) struct ConvertTests {
  private func convert(
    _ volume: Volume, data: BalanceFilter.Profile?, metadata: BalanceFilter.Profile?,
    system: BalanceFilter.Profile? = nil, isForced: Bool = false
  ) throws {
    func filter(_ target: BalanceFilter.Profile?) -> BalanceFilter? {
      guard let target else { return nil }
      var filter = BalanceFilter()
      filter.target = target
      filter.isSoft = true
      return filter
    }
    var plan = BalancePlan()
    plan.data = filter(data)
    plan.metadata = filter(metadata)
    plan.system = filter(system)
    plan.isForced = isForced
    try volume.balance.start(plan)
    try volume.finishBalance()
  }

  private func profiles(_ volume: Volume, _ type: BlockGroupFlags) -> Set<UInt64> {
    Set(
      volume.space.groups.all.filter { $0.flags.contains(type) }
        .map { $0.flags.intersection(.profiles).rawValue })
  }

  @Test(arguments: [0, 1]) func profilesChange(number: Int) throws {
    let variant = BalanceVariant.all[number]
    var random = SeededRandom(testSeed: 61)
    let device = try variant.makeImage(megabytes: 768)
    let volume = try variant.mount(device)
    try volume.populate(&random, files: 60)
    let lines = try volume.stateLines()
    func check() throws {
      try volume.synchronizeAll()
      #expect(volume.brokenInvariants() == [])
      #expect(try volume.stateLines() == lines)
      try CacheJudge.check(device.copy())
    }
    #expect(profiles(volume, .data) == [0])
    try convert(volume, data: .dup, metadata: nil)
    #expect(profiles(volume, .data) == [BlockGroupFlags.dup.rawValue])
    try check()
    #expect {
      try convert(volume, data: .single, metadata: .single)
    } throws: {
      guard case FilesystemError.invalidArgument(let why) = $0 else { return false }
      return why.contains("force")
    }
    try convert(volume, data: .single, metadata: .single, system: .single, isForced: true)
    #expect(profiles(volume, .data) == [0])
    #expect(profiles(volume, .metadata) == [0])
    #expect(profiles(volume, .system) == [0])
    try check()
    try convert(volume, data: nil, metadata: .dup, system: .dup, isForced: true)
    #expect(profiles(volume, .metadata) == [BlockGroupFlags.dup.rawValue])
    #expect(profiles(volume, .system) == [BlockGroupFlags.dup.rawValue])
    try check()
    // System groups go with metadata, but by filters of their own only where that is forced.
    #expect {
      try convert(volume, data: nil, metadata: nil, system: .dup)
    } throws: {
      guard case FilesystemError.invalidArgument(let why) = $0 else { return false }
      return why.contains("system") && why.contains("force")
    }
    // There is nothing left to do.
    try convert(volume, data: nil, metadata: .dup, system: .dup)
    #expect(volume.balance.status.expected == 0)
    try volume.unmount()
    try CacheJudge.check(device)
    let again = try variant.mount(device)
    #expect(try again.stateLines() == lines)
    try again.unmount()
  }
}
