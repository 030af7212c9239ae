import Glibc
import TestSupport
import Testing

@testable import FSCore

/// Subvolumes whose trees cannot be read.
@Suite(.timeLimit(.minutes(2))) struct DamagedSubvolumeTests {
  /// An image with subvolumes `p`, which has several blocks, and `q`.
  private static func image() throws -> (device: MemoryDevice, p: TreeID, q: TreeID) {
    let device = try TestImage.make(sizeBytes: 256 << 20) { $0.nodeSize = 4096 }
    let volume = try Volume.mountForTest(device)
    let (p, q) = (try volume.makeSubvolume("/p").tree, try volume.makeSubvolume("/q").tree)
    for number in 0..<100 { try volume.makeFile("/p/\(number)") }
    try volume.makeFile("/q/file")
    try volume.unmount()
    return (device, p, q)
  }

  /// Overwrites all copies of a subvolume's root block, or of its last leaf.
  private static func damage(_ device: MemoryDevice, _ id: TreeID, leaf: Bool = false) throws {
    let reader = try ImageReader(device: device)
    let root = try reader.root(of: id)
    var address = root.address
    try reader.walkBlocks(root) { (pointer, _) throws(FilesystemError) in
      if leaf, pointer.level == 0 { address = pointer.address }
      return leaf
    }
    #expect(!leaf || address != root.address)
    let noise = AlignedBuffer(count: reader.geometry.nodeBytes)
    memset(noise.bytes.baseAddress!, 0xa5, noise.bytes.count)
    for copy in 0..<(try reader.device.copies(at: address)) {
      let place = try reader.device.locate(address, length: noise.bytes.count, copy: copy)
      try device.write(noise.readable, at: place.offset)
    }
  }

  private func refusal(_ device: MemoryDevice, _ id: TreeID) -> String {
    do {
      try Volume.mountForTest(device) { $0.subvolume = .id(id) }.unmount()
      return "mounted"
    } catch {
      return "\(error)"
    }
  }

  /// The image is mounted, the damaged one is named, and all others can be used.
  @Test(arguments: [false, true]) func othersAreMounted(leaf: Bool) throws {
    let (device, p, _) = try Self.image()
    try Self.damage(device, p, leaf: leaf)
    let lines = Guarded<[String]>([], rank: .leaf)
    let volume = try Volume.mountForTest(device, log: lines)
    #expect(volume.readOnlyReason == nil)
    let told = lines.withLock { $0 }.filter { $0.contains("subvolume \(p) ('p') is damaged") }
    #expect(told.count == 1 && told[0].hasPrefix("warning"), "\(lines.withLock { $0 })")
    #expect(try volume.find("/q/file").number > .firstFree)
    #expect(errorNumber { for number in 0..<100 { _ = try volume.find("/p/\(number)") } } != 0)
    try volume.makeFile("/q/new")
    try volume.unmount()
    try Volume.mountForTest(device) { $0.subvolume = .path("q") }.unmount()
  }

  @Test func theMountedOne() throws {
    let (device, p, q) = try Self.image()
    let copy = device.copy()
    try Self.damage(device, p)
    let text = refusal(device, p)
    #expect(text.contains("subvolume \(p)") && text.contains("-o subvolid="), "\(text)")

    // Its root block can be read, but not a leaf that a mount for writing looks into.
    try Self.damage(copy, p, leaf: true)
    let other = refusal(copy, p)
    #expect(other.contains("subvolume \(p)") && other.contains("-o ro"), "\(other)")
    let volume = try Volume.mountForTest(copy) {
      $0.subvolume = .id(p)
      $0.readOnly = true
    }
    try volume.unmount()
    #expect(refusal(copy, q) == "mounted")
  }

  @Test func theTopLevel() throws {
    let (device, _, q) = try Self.image()
    try Self.damage(device, .topLevel)
    for (id, words) in [(q, "-o ro"), (.topLevel, "-o ro,subvolid=")] as [(TreeID, String)] {
      let text = refusal(device, id)
      #expect(text.contains("subvolume 5") && text.contains(words), "\(text)")
    }
    let volume = try Volume.mountForTest(device) {
      $0.subvolume = .id(q)
      $0.readOnly = true
    }
    #expect(try volume.names(volume.rootDirectory) == ["file"])
    try volume.unmount()
  }
}
