import ArgumentParser
import CFuse
import FSCore
import Glibc

struct MapCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "map",
    abstract: "Show what stands where in an image, as a picture.",
    discussion: """
      A row for each block group: how full each part of it is, and which free space its record lists \
      as extents and in bitmaps. Without -o a coarse map is printed. The image is read, and not \
      mounted; it must not be mounted meanwhile.
      """)

  @Option(
    name: .shortAndLong,
    help: ArgumentHelp("Write an SVG to this file ('-' is standard output).", valueName: "file"))
  var output: String?

  @OptionGroup var image: InspectedImage

  func run() throws {
    let reader = try image.reader()
    let survey = MapSurvey(reader)
    let heading = MapHeading(reader, path: image.path, record: survey.record)
    if let output {
      let target = try OutputFile(output, besides: image.path)
      let map = MapSVG(heading)
      try target.write(map.head)
      for (index, chunk) in reader.chunks.enumerated() {
        let picture = survey.picture(of: chunk, cellCount: map.layout.cellCount)
        try target.write(map.row(picture, index: index))
      }
      try target.write(map.tail)
      try target.finish()
    } else {
      var map = MapText(heading, style: .ofStandardOutput(), width: Self.screenWidth)
      for line in map.head { print(line) }
      for chunk in reader.chunks {
        for line in map.add(survey.picture(of: chunk, cellCount: map.cellCount)) { print(line) }
      }
      for line in map.finish() { print(line) }
    }
    try image.finish(reader)
  }

  private static var screenWidth: Int {
    var size = winsize()
    guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col >= 60 else { return 100 }
    return Int(size.ws_col)
  }
}

/// A file that a command writes, or standard output.
private struct OutputFile: ~Copyable {
  private let path: String
  private let file: UnsafeMutablePointer<FILE>

  /// Throws when it cannot be made, or is the image itself.
  init(_ path: String, besides image: String) throws(CommandFailure) {
    self.path = path
    var (target, source) = (stat(), stat())
    if path != "-", stat(path, &target) == 0, stat(image, &source) == 0,
      target.st_dev == source.st_dev, target.st_ino == source.st_ino
    {
      throw CommandFailure(
        "\(path) is the image itself; name another file for the map", status: .usage)
    }
    let opened = path == "-" ? fdopen(dup(STDOUT_FILENO), "w") : fopen(path, "we")
    guard let opened else {
      let code = errno
      throw CommandFailure("\(path): \(String(cString: strerror(code)))")
    }
    file = opened
  }

  func write(_ text: String) throws(CommandFailure) {
    guard fputs(text, file) >= 0 else { throw failure }
  }

  /// What is buffered reaches the file, or the command fails.
  func finish() throws(CommandFailure) {
    guard fflush(file) == 0 else { throw failure }
  }

  private var failure: CommandFailure {
    let code = errno
    return CommandFailure("\(path): \(String(cString: strerror(code)))")
  }

  deinit { fclose(file) }
}
