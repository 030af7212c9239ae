import Glibc
import TestSupport
import Testing

extension MountTests {
  /// What fallocate(2) and lseek(2) return, on a mount by the kernel and on ours: all modes, odd
  /// ranges, and what is no regular file.
  @Suite(.timeLimit(.minutes(5))) struct ReturnCodeTests {
    @Test(.needsRoot, .timeLimit(.minutes(1)))
    func allocationAndHoles() throws {
      let scratch = try Scratch()
      var variant = ImageVariant(name: "plain")
      variant.size = "512M"
      try variant.makeWithKernelTools(scratch.image)
      let kernel = try scratch.mountByKernel()
      defer { try? kernel.unmount() }
      let theirs = try results(in: scratch.root, "kernel")
      try kernel.unmount()

      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let ours = try results(in: scratch.root, "ours")
      #expect(theirs.count == ours.count && theirs.count > 1_000)
      let differences = zip(theirs, ours).filter { $0 != $1 }
      #expect(differences.isEmpty, "kernel, ours: \(differences.prefix(20))")
      try mounted.unmount()
      try scratch.expectSound()
    }

    private func results(in root: BytePath, _ name: String) throws -> [String] {
      let directory = root.appending(name)
      try check("mkdir") { directory.withCPath { mkdir($0, 0o755) } }
      return try allocations(directory) + seeks(directory)
    }

    private static let modes: [Int32] = [
      0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 17, 18, 19, 24, 32, 33, 48, 64, 65, 128, 255,
    ]

    private static let ranges: [(Int, Int)] = [
      (0, 4096), (100, 50), (0, 0), (-1, 10), (10, -1), (8192, 4096), (20_000, 4096),
      (.max, 1), (.max - 5_000, .max - 5_000), (1 << 62, 4096), (1 << 50, 4096),
    ]

    private func allocations(_ directory: BytePath) throws -> [String] {
      let file = directory.appending("file")
      try writeFile(file, [UInt8](repeating: 1, count: 20_000))
      let pipe = directory.appending("pipe")
      try check("mkfifo") { pipe.withCPath { mkfifo($0, 0o644) } }

      var lines: [String] = []
      let targets = [
        (file, O_RDWR), (file, O_RDONLY), (file, O_WRONLY | O_APPEND), (directory, O_RDONLY),
        (pipe, O_RDWR),
      ]
      for (path, flags) in targets {
        let descriptor = try check("open \(path)") { path.withCPath { open($0, flags) } }
        defer { close(descriptor) }
        for mode in Self.modes {
          for (offset, length) in Self.ranges {
            let result = outcome { Linux.fallocate(descriptor, mode, offset, length) }
            var status = stat()
            try check("fstat") { fstat(descriptor, &status) }
            let size = path == file ? "\(status.st_size)" : "-"
            lines.append("mode \(mode) \(offset)+\(length) on \(flags): \(result), \(size)")
            if path == file { try check("truncate") { file.withCPath { truncate($0, 20_000) } } }
          }
        }
      }
      return lines
    }

    private func seeks(_ directory: BytePath) throws -> [String] {
      let file = directory.appending("sparse")
      let descriptor = try check("open") {
        file.withCPath { open($0, O_RDWR | O_CREAT, 0o644) }
      }
      defer { close(descriptor) }
      try check("ftruncate") { ftruncate(descriptor, 1 << 20) }
      let block = [UInt8](repeating: 9, count: 4096)
      for offset in [0, 131_072, 300_000, 1_048_576 - 4096] {
        try check("pwrite") { pwrite(descriptor, block, block.count, offset) }
      }

      var lines: [String] = []
      for round in ["written", "preallocated behind", "on disk"] {
        for whence in [Linux.seekData, Linux.seekHole, 9] {
          // What Linux makes of a negative offset depends on what it remembers of the file.
          for offset in [
            0, 1, 4095, 4096, 10_000, 131_071, 131_072, 135_168, 303_104, 304_096,
            1_048_575, 1_048_576, 1_048_577, 2 << 20, 1 << 40, .max,
          ] {
            let result = outcome { lseek(descriptor, offset, whence) }
            lines.append("\(round): seek \(whence) \(offset): \(result)")
          }
        }
        if round == "written" {
          try check("fallocate") {
            Linux.fallocate(descriptor, Linux.fallocateKeepSize, 2 << 20, 65_536)
          }
        } else {
          try check("fsync") { fsync(descriptor) }
        }
      }
      let root = try check("open") { directory.withCPath { open($0, O_RDONLY) } }
      defer { close(root) }
      // Without it FUSE looks at a size that it remembers.
      var status = stat()
      try check("fstat") { fstat(root, &status) }
      for whence in [Linux.seekData, Linux.seekHole, 9] {
        lines.append("directory: seek \(whence): \(outcome { lseek(root, 0, whence) })")
      }
      return lines
    }
  }
}
