import ArgumentParser
import FSCore

struct ResizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "resize",
    abstract: "Make a mounted file system longer or shorter, and its image with it.",
    discussion: """
      SIZE is a size as in 3G, +N or -N more or less than it is, or max for all that the image or block \
      device has. Shrinking moves what stands beyond the new end, and shortens the image file. The user \
      that mounted the image may do this; root may where the mount lets it in (-o allow_other or \
      allow_root).
      """)

  @Argument(
    help: ArgumentHelp(
      "A size as in 3G, +1G or -1G for so much more or less, or max.", valueName: "size"))
  var amount: ResizeAmount

  @Argument(help: ArgumentHelp("A directory or file in the mount.", valueName: "mountpoint"))
  var path: String

  /// The arguments of the program, with `-N` in a form that does not look like an option.
  static func expanded(_ arguments: [String]) -> [String] {
    guard arguments.first == "resize" else { return arguments }
    return arguments.map { argument in
      let isNegative = argument.hasPrefix("-") && argument.dropFirst().first?.isNumber == true
      return isNegative ? "\(ResizeAmount.lessPrefix)\(argument.dropFirst())" : argument
    }
  }

  func run() throws {
    let screen = LiveScreen()
    var report = try ControlChannel(path).ask(
      ResizeCall(change: amount.change, bytes: amount.bytes))
    while report.isRunning {
      if screen.isTerminal, let target = report.to {
        screen.showLine("\(path): on the way to \(ByteCount.text(target))")
      }
      guard screen.wait(seconds: 0.1) else {
        if screen.isTerminal { print("") }
        print("\(path): the resize goes on")
        throw ExitCode(130)
      }
      report = try ControlChannel(path).ask(ResizeStatusCall())
    }
    if screen.isTerminal { screen.showLine("") }
    if let error = report.error { throw CommandFailure("\(path): \(error)") }
    let size = report.size ?? 0
    let text = report.from == size ? "has" : "has now"
    print("\(path): the file system \(text) \(ByteCount.text(size)), \(size) bytes")
  }
}

/// A new size, or how much more or less.
struct ResizeAmount: ExpressibleByArgument, Equatable {
  let change: ResizeCall.Change
  let bytes: UInt64?

  static let lessPrefix = "less="

  init?(argument: String) {
    if argument == "max" {
      (change, bytes) = (.max, nil)
      return
    }
    let prefixes: [(String, ResizeCall.Change)] = [
      ("+", .grow), ("-", .shrink), (Self.lessPrefix, .shrink), ("", .to),
    ]
    guard let (prefix, change) = prefixes.first(where: { argument.hasPrefix($0.0) }),
      let size = ByteSize(argument: String(argument.dropFirst(prefix.count)))
    else { return nil }
    self.change = change
    bytes = size.bytes
  }
}
