import TestSupport
import Testing

@testable import FSCore

@Suite(.timeLimit(.minutes(1))) struct GroupPictureTests {
  private func picture(_ sectors: UInt64, cells: Int) -> GroupPicture {
    let item = ChunkItem(
      length: sectors * 4096, flags: .data, sectorSize: 4096,
      stripes: [
        ChunkItem.Stripe(
          deviceID: 1, offset: PhysicalAddress(1 << 40), deviceUUID: .random())
      ])
    return GroupPicture(Chunk(start: LogicalAddress(1 << 30), item: item), cellCount: cells)
  }

  /// Against a count of every byte's cell, for groups of any length and more cells than sectors.
  @Test func likeANaiveCount() {
    var random = SeededRandom(testSeed: 77)
    for _ in 0..<300 {
      let sectors = UInt64.random(in: 1...80, using: &random)
      let cells = Int.random(in: 1...100, using: &random)
      var picture = picture(sectors, cells: cells)
      let length = sectors * 4096
      var expected = [UInt64](repeating: 0, count: cells)
      func cell(_ offset: UInt64) -> Int {
        (0..<cells).last { UInt64($0) * length / UInt64(cells) <= offset }!
      }
      for _ in 0..<5 {
        let first = UInt64.random(in: 0..<sectors, using: &random)
        let most = sectors - first
        let count = UInt64.random(in: 1...most, using: &random)
        picture.add(1 << 30 + first * 4096, count * 4096, to: \.data)
        for part in 0..<count * 64 { expected[cell((first * 64 + part) * 64)] += 64 }
      }
      // A cell may begin within the 64 bytes that were counted as one.
      for index in 0..<cells {
        let found = picture.cells[index].data
        #expect(found <= expected[index] + 640 && expected[index] <= found + 640)
      }
      #expect(picture.used == expected.reduce(0, +))
      #expect(picture.cells.reduce(0) { $0 + $1.bytes } == length)
    }
  }

  @Test func whatIsOutsideIsLeftOut() {
    var picture = picture(16, cells: 8)
    let start: UInt64 = 1 << 30
    let ranges: [(UInt64, UInt64)] = [
      (0, 4096), (0, UInt64.max), (start - 4096, 4096), (start + 65536, 4096),
      (UInt64.max, UInt64.max), (UInt64.max - 1, 1), (start, 0),
    ]
    for (address, length) in ranges { picture.add(address, length, to: \.blocks) }
    #expect(picture.used == 16 * 4096)
    picture.add(start - 4096, 8192, to: \.data)
    #expect(picture.cells[0].data == 4096)
  }

  @Test func bitmapsAreSpread() {
    var picture = picture(128, cells: 4)
    picture.spread(1 << 30, 128 * 4096, bytes: 4096, to: \.inBitmaps)
    #expect(picture.cells.map(\.inBitmaps) == [1024, 1024, 1024, 1024])
    picture.spread(1 << 30, 64 * 4096, bytes: 64 * 4096, to: \.inExtents)
    #expect(picture.cells.map(\.inExtents) == [32 * 4096, 32 * 4096, 0, 0])
  }

  /// The sum of a picture is what the block group's item says, and what the record lists is free.
  @Test(arguments: ["v1", "v2"]) func ofAnImage(record: String) throws {
    let device = try TestImage.make(sizeBytes: 2 << 30) {
      $0.spaceRecord = record == "v1" ? .v1 : .v2
    }
    let volume = try Volume.mountForTest(device)
    var random = SeededRandom(testSeed: 5)
    for number in 0..<40 {
      let id = try volume.makeFile("/\(number)")
      let count = Int.random(in: 1...300_000, using: &random)
      try volume.writeBytes(id, at: 0, [UInt8](repeating: 1, count: count))
    }
    try volume.synchronizeAll()
    for number in stride(from: 0, to: 40, by: 3) { try volume.remove("/\(number)") }
    try volume.unmount()

    let reader = try ImageReader(device: device)
    let survey = MapSurvey(reader)
    let used = try UsageSurvey(reader).usedByGroup()
    for chunk in reader.chunks {
      for cellCount in [1, 7, 64, 1000] {
        let picture = survey.picture(of: chunk, cellCount: cellCount)
        #expect(picture.used == used[chunk.start])
        guard picture.verdict == .valid else { continue }
        let kept = picture.cells.reduce(0) { $0 + $1.kept }
        let listed = picture.cells.reduce(0) { $0 + $1.inExtents + $1.inBitmaps }
        // Bitmaps are spread, and rounded down in each cell. In the tree the places of superblock
        // copies are free.
        #expect(listed <= chunk.length - (record == "v1" ? kept : 0) - picture.used)
        #expect(
          listed + UInt64(cellCount) * picture.bitmapCount + kept + picture.used >= chunk.length)
      }
    }
    #expect(reader.problemCount == 0)
  }
}
