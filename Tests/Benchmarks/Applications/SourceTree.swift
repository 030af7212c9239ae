import Glibc
import TestSupport

/// A tree of files as a large program's source has: the same one for the same number of files and the
/// same seed. Most files are short and a few are long; directories are up to eight deep.
struct SourceTree {
  struct File: Equatable {
    var path: String
    var size: Int
    /// Where its text begins in the stock that all files are cut from.
    var start: Int
    var isExecutable: Bool
  }

  /// Each after its parent, without the root.
  private(set) var directories: [String] = []
  private(set) var files: [File] = []
  /// Symbolic links with their targets.
  private(set) var links: [(path: String, target: String)] = []
  private var random: SeededRandom

  /// A word that few lines have.
  static let rareWord = "request_firmware_nowait"
  static let mostDeep = 8
  private static let longest = 512 << 10
  private static let stockSize = 2 << 20

  init(fileCount: Int, seed: UInt64 = 9) {
    random = SeededRandom(seed: seed)
    makeDirectories(max(fileCount / 15, 1))
    makeFiles(fileCount)
    makeLinks(fileCount / 500)
  }

  var totalBytes: Int { files.reduce(0) { $0 + $1.size } }

  private static let words = [
    "alloc", "arch", "block", "bus", "cache", "clock", "core", "crypto", "debug", "device", "dma",
    "driver", "event", "file", "filter", "frame", "group", "hash", "host", "index", "init", "input",
    "iter", "kernel", "key", "list", "lock", "map", "memory", "mount", "net", "node", "page",
    "path",
    "pci", "phy", "pipe", "pool", "power", "probe", "proc", "queue", "reg", "ring", "route",
    "sched",
    "security", "serial", "signal", "socket", "sound", "stack", "state", "super", "table", "task",
    "thread", "time", "trace", "tree", "usb", "video", "virt", "watch", "work", "zone",
  ]

  private mutating func word() -> String { Self.words[random.below(Self.words.count)] }

  private mutating func makeDirectories(_ count: Int) {
    var depths = [0]
    var paths = [""]
    var known: Set<String> = []
    while directories.count < count {
      let parent = random.below(paths.count)
      guard depths[parent] < Self.mostDeep else { continue }
      var name = word()
      // Near the root there are few words for many directories.
      if random.oneIn(3) { name += "_" + word() }
      let path = paths[parent].isEmpty ? name : "\(paths[parent])/\(name)"
      guard known.insert(path).inserted else { continue }
      directories.append(path)
      paths.append(path)
      depths.append(depths[parent] + 1)
    }
  }

  private mutating func makeFiles(_ count: Int) {
    var known: Set<String> = []
    while files.count < count {
      // Some directories have hundreds of files, most have a few.
      let place = random.below(directories.count) * random.below(directories.count)
      let directory = directories[place / directories.count]
      let (name, isExecutable) = fileName()
      let path = "\(directory)/\(name)"
      guard known.insert(path).inserted else { continue }
      let size = self.size()
      files.append(
        File(
          path: path, size: size, start: random.below(Self.stockSize - Self.longest),
          isExecutable: isExecutable))
    }
  }

  private mutating func fileName() -> (String, isExecutable: Bool) {
    let stem = "\(word())_\(word())" + (random.oneIn(3) ? "" : "\(random.below(100))")
    switch random.below(100) {
    case 0..<54: return ("\(stem).c", false)
    case 54..<82: return ("\(stem).h", false)
    case 82..<90: return ("\(stem).txt", false)
    case 90..<94: return ("\(stem).S", false)
    case 94..<98: return ("\(stem).dts", false)
    default: return ("\(stem).sh", true)
    }
  }

  /// From a logarithmic normal distribution: half of the files have less than 3.5 KB, the mean is twice
  /// that.
  private mutating func size() -> Int {
    let (first, second) = (uniform(), uniform())
    let normal = (-2 * log(first)).squareRoot() * cos(2 * .pi * second)
    return min(max(Int(exp(log(3500) + 1.2 * normal)), 40), Self.longest)
  }

  /// Above 0, at most 1.
  private mutating func uniform() -> Double {
    Double(random.next() >> 11 + 1) / Double(1 << 53)
  }

  private mutating func makeLinks(_ count: Int) {
    var known: Set<String> = []
    for _ in 0..<count {
      let file = files[random.below(files.count)].path
      let path = "\(directories[random.below(directories.count)])/link_\(known.count).h"
      let up = String(repeating: "../", count: path.split(separator: "/").count - 1)
      guard known.insert(path).inserted else { continue }
      links.append((path, up + file))
    }
  }

  // Writing.

  /// Lines such as programs have.
  private static let stock: [UInt8] = {
    var random = SeededRandom(seed: 99)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(stockSize + 200)
    while bytes.count < stockSize {
      bytes += [UInt8](repeating: UInt8(ascii: "\t"), count: random.below(4))
      for position in 0..<random.within(1...9) {
        if position > 0 { bytes += random.pick([" ", ", ", "->", " = ", "(", ") + "]).utf8 }
        bytes += random.oneIn(9000) ? Array(rareWord.utf8) : Array(random.pick(words).utf8)
        if random.oneIn(2) { bytes += "_\(random.pick(words))".utf8 }
      }
      bytes += random.pick([";", " {", ");", ""]).utf8
      bytes.append(UInt8(ascii: "\n"))
    }
    return Array(bytes.prefix(stockSize))
  }()

  /// Writes all of it below `root`, which is empty.
  func write(below root: BytePath) throws {
    for directory in directories {
      let path = root.appending(directory)
      try check("mkdir \(path)") { path.withCPath { mkdir($0, 0o755) } }
    }
    for file in files {
      let path = root.appending(file.path)
      try writeFile(path, Self.text(of: file))
      if file.isExecutable { try check("chmod") { path.withCPath { chmod($0, 0o755) } } }
    }
    for link in links {
      let path = root.appending(link.path)
      try check("symlink \(path)") {
        path.withCPath { path in link.target.withCString { symlink($0, path) } }
      }
    }
  }

  private static func text(of file: File) -> [UInt8] {
    let head = "/* \(file.path) */\n"
    let body = stock[file.start..<(file.start + file.size)]
    return Array((Array(head.utf8) + body).prefix(file.size))
  }

  /// Changes what the next version has changed: a tenth of the files gets other lines, one in fifty
  /// goes, and as many are new.
  func writeNextVersion(below root: BytePath) throws {
    for (index, file) in files.enumerated() {
      let path = root.appending(file.path)
      switch index % 50 {
      case 0:
        try check("unlink \(path)") { path.withCPath { unlink($0) } }
        var moved = file
        moved.path += ".new.c"
        try writeFile(root.appending(moved.path), Self.text(of: moved))
      case 10, 20, 30, 40, 45:
        var text = Self.text(of: file)
        text.replaceSubrange(
          (text.count / 2)..<(text.count / 2), with: "\n\t/* changed */\n".utf8)
        try writeFile(path, text)
      default: break
      }
    }
  }
}
