import TestSupport
import Testing

@testable import FSCore

/// What Linux makes of an image that a power cut has left: a judge that shares no code with us.
enum LinuxJudge {
  /// Expects `btrfs check` to be content with the image as the cut left it, the kernel to find one of
  /// the states in it, and what the kernel leaves to be sound as well. Without root `btrfs check` is
  /// the only judge.
  ///
  /// - Parameter mayDisownCaches: the cut was made while all caches were made anew.
  static func judge(
    _ image: MemoryDevice, _ states: [[String]], mayDisownCaches: Bool = false, _ what: Comment
  ) throws {
    let hasTree = try ImageReader(device: image).superblock.readOnlyFeatures
      .contains(.freeSpaceTree)
    let directory = try TemporaryDirectory(inMemory: true)
    let path = directory.file("image")
    try image.save(to: path)
    #expect(throws: Never.self, what) {
      try ImageCheck(path).expectSound(mayDisownCaches: mayDisownCaches)
    }
    guard isRoot else { return }
    #expect(throws: Never.self, what) {
      // A balance that was cut short is to be found as it is.
      let lines = try KernelState.lines(
        of: path, in: directory, hasFreeSpaceTree: hasTree, moreOptions: ",skip_balance")
      #expect(states.contains(lines), what)
    }
    #expect(throws: Never.self, what) {
      try ImageCheck(path).expectSound(mayDisownCaches: mayDisownCaches)
    }
  }
}
