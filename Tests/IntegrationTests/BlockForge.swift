import Glibc
import TestSupport

/// Forges tree blocks and superblocks of an image with crc32c: fields and items that contradict
/// the format, under checksums that are right.
final class BlockForge {
  private let image: String
  private let saved: [UInt8]
  private let nodeSize: Int
  /// Where the copies of each live block stand, by address and generation.
  private var blocks: [[Int]] = []

  /// What is looked at: the tests' images have nothing behind.
  private static let searched = 64 << 20
  private static let superblock = 65536

  var blockCount: Int { blocks.count }

  init(_ image: String) throws {
    self.image = image
    var bytes = [UInt8](repeating: 0, count: Self.searched)
    let descriptor = try check("open \(image)") { open(image, O_RDONLY) }
    defer { close(descriptor) }
    try check("pread") { pread(descriptor, &bytes, bytes.count, 0) }
    saved = bytes
    nodeSize = Self.number(bytes, Self.superblock + 0x94, 4)

    let fsid = bytes[(Self.superblock + 0x20)..<(Self.superblock + 0x30)]
    var copies: [Int: (generation: Int, places: [Int])] = [:]
    for place in stride(from: 1 << 20, to: Self.searched - nodeSize, by: 4096)
    where bytes[(place + 0x20)..<(place + 0x30)] == fsid {
      let content = Array(bytes[(place + 32)..<(place + nodeSize)])
      guard Int(NameHash.checksum(content)) == Self.number(bytes, place, 4) else { continue }
      let address = Self.number(bytes, place + 0x30, 8)
      let generation = Self.number(bytes, place + 0x50, 8)
      if let known = copies[address], known.generation == generation {
        copies[address]?.places.append(place)
      } else if copies[address].map({ $0.generation < generation }) ?? true {
        copies[address] = (generation, [place])
      }
    }
    blocks = copies.sorted { $0.key < $1.key }.map(\.value.places)
  }

  private static func number(_ bytes: [UInt8], _ offset: Int, _ size: Int) -> Int {
    (0..<size).reduce(0) { $0 | Int(truncatingIfNeeded: UInt64(bytes[offset + $1]) << (8 * $1)) }
  }

  /// Makes the image what it was.
  func restore() throws {
    let descriptor = try check("open") { open(image, O_WRONLY) }
    defer { close(descriptor) }
    try check("pwrite") { pwrite(descriptor, saved, saved.count, 0) }
  }

  /// Changes some blocks, every copy of each alike, and now and then the superblock.
  func forge(_ random: inout SeededRandom) throws {
    let descriptor = try check("open") { open(image, O_WRONLY) }
    defer { close(descriptor) }
    for _ in 0..<random.within(1...3) {
      let places = random.pick(blocks)
      var block = Array(saved[places[0]..<(places[0] + nodeSize)])
      for _ in 0..<random.within(1...3) { change(&block, &random) }
      try seal(&block)
      for place in places { try check("pwrite") { pwrite(descriptor, block, nodeSize, place) } }
    }
    if random.oneIn(4) {
      var block = Array(saved[Self.superblock..<(Self.superblock + 4096)])
      overwrite(&block, at: random.within(0x48...0x3ff), &random)
      try seal(&block)
      try check("pwrite") { pwrite(descriptor, block, 4096, Self.superblock) }
    }
  }

  private func seal(_ block: inout [UInt8]) throws {
    let checksum = NameHash.checksum(Array(block[32...]))
    for index in 0..<4 { block[index] = UInt8(truncatingIfNeeded: checksum >> (8 * index)) }
  }

  private func change(_ block: inout [UInt8], _ random: inout SeededRandom) {
    let count = Self.number(block, 0x60, 4)
    let isLeaf = block[0x64] == 0
    let stride = isLeaf ? 25 : 33
    guard count > 0, count * stride < nodeSize - 101, !random.oneIn(8) else {
      return overwrite(&block, at: random.within(0x30...100), &random)
    }
    let item = 101 + random.below(count) * stride
    if !isLeaf { return overwrite(&block, at: item + random.below(33), &random) }

    let start = 101 + Self.number(block, item + 17, 4)
    let size = Self.number(block, item + 21, 4)
    switch random.below(6) {
    case 0: overwrite(&block, at: item + random.below(25), &random)
    case 1:
      // A copy of another item's key: out of order, or twice.
      let other = 101 + random.below(count) * stride
      block.replaceSubrange(item..<(item + 17), with: block[other..<(other + 17)])
    case 2:
      // Cut or longer than its record.
      let length = UInt8(truncatingIfNeeded: size + random.within(-8...8))
      block[item + 21] = length
    case 3:
      // Without the last items.
      let left = random.below(count)
      for index in 0..<4 { block[0x60 + index] = UInt8(truncatingIfNeeded: left >> (8 * index)) }
    default:
      if size > 0, start + size <= nodeSize {
        overwrite(&block, at: start + random.below(size), &random)
      }
    }
  }

  private func overwrite(_ block: inout [UInt8], at offset: Int, _ random: inout SeededRandom) {
    let byte = random.pick([0, 1, 0x7f, 0x80, 0xfe, 0xff, UInt8(random.below(256))])
    for index in 0..<random.pick([1, 1, 2, 4, 8]) where offset + index < block.count {
      block[offset + index] = byte
    }
  }
}
