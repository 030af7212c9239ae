import FSCore
import Glibc
import Testing

@testable import fsmount

struct LogWriterTests {
  private static let limit = 100

  /// Writes to a pipe, which takes no more when it is not read.
  private func writer(to pipe: Int32) -> LogWriter<String> {
    LogWriter(
      limit: Self.limit, lineAboutDropped: { "\($0) dropped" },
      write: { line in
        let bytes = Array((line + "\n").utf8)
        _ = bytes.withUnsafeBytes { Glibc.write(pipe, $0.baseAddress, $0.count) }
      })
  }

  @Test(.timeLimit(.minutes(1))) func linesAreWrittenInOrder() throws {
    var ends: [Int32] = [-1, -1]
    try #require(pipe(&ends) == 0)
    let writer = writer(to: ends[1])
    for number in 0..<50 { writer.add("\(number)") }
    #expect(writer.flush(atMost: 30))
    #expect(try read(ends[0], until: "49") == (0..<50).map { "\($0)" })
  }

  @Test(.timeLimit(.minutes(1))) func aFullPipeStopsNoThread() throws {
    var ends: [Int32] = [-1, -1]
    try #require(pipe(&ends) == 0)
    let writer = writer(to: ends[1])
    let padding = String(repeating: "-", count: 4000)
    let count = 1000
    // Nobody reads: this would never end if a line had to be written.
    for number in 0..<count { writer.add("\(number) \(padding)") }
    #expect(!writer.flush(atMost: 0.05), "the pipe took it all")

    // From here on somebody does. A line in the place of those that were dropped says how many they
    // were; a thread that began late may have dropped some before the pipe was full.
    var next = 0
    var written = 0
    while next < count {
      let line = try #require(try read(ends[0], until: "").last)
      let number = try #require(Int(line.prefix { $0 != " " }))
      if line.hasSuffix("dropped") {
        next += number
      } else {
        #expect(number == next, "a line is out of its order")
        next += 1
        written += 1
      }
    }
    #expect(next == count)
    #expect(written >= Self.limit && written < count)
    #expect(writer.flush(atMost: 30))
  }

  /// The lines up to one that ends so.
  private func read(_ descriptor: Int32, until end: String) throws -> [String] {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    let isComplete = { (bytes: [UInt8]) in
      String(decoding: bytes.suffix(end.utf8.count + 1), as: UTF8.self) == end + "\n"
    }
    while !isComplete(bytes) {
      var source = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      try #require(poll(&source, 1, 30_000) > 0, "no more lines come")
      let count = Glibc.read(descriptor, &buffer, 1)
      try #require(count > 0)
      bytes += buffer[..<count]
    }
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
  }
}
