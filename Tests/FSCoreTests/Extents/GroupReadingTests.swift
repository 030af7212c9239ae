import SimulatedDevices
import TestSupport
import Testing

@testable import FSCore

/// Reading the block group items of an image that has many.
@Suite(.timeLimit(.minutes(2))) struct GroupReadingTests {
  /// The device is told of the leaves before they are read, of each once, and of nothing else.
  @Test(arguments: [false, true])
  func theDeviceReadsAhead(hasBlockGroupTree: Bool) throws {
    let groups: UInt64 = 600
    let image = try TestImage.make(sizeBytes: (groups + 8) << 30) { options in
      options.hasBlockGroupTree = hasBlockGroupTree
      if hasBlockGroupTree { options.spaceRecord = .v2 }
    }
    let first = try Volume.mountForTest(image)
    let id = try first.makeFile("/large")
    for group in 0..<groups {
      for piece in 0..<4 as Range<UInt64> {
        try first.content.allocate(
          id, .plain, offset: group << 30 + piece << 28, length: 1 << 28 - 4 << 20)
      }
    }
    try first.unmount()

    let device = try SimulatedDevice(image)
    let volume = try Volume.mountForTest(device)
    #expect(volume.space.groups.all.count >= Int(groups) - 20)
    let expected = device.expectations
    let reads = device.readsAfterExpectations
    #expect(expected.count >= (hasBlockGroupTree ? 1 : 8))
    #expect(Set(expected).count == expected.count)
    #expect(Set(expected).isSubset(of: Set(reads)))
    try volume.unmount()
  }
}
