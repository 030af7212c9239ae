import ArgumentParser
import TestSupport

struct FillCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fill",
    abstract: "Fills an image until nothing fits, empties half, and so on; nothing may be lost.",
    discussion: """
      Makes an image, mounts it with fsmount, and has Linux judge it. Forms: \
      \(FillForm.all.map(\.name).joined(separator: ", ")).
      """)

  @Option(
    help: "Forms of images with commas between, or 'all', instead of a size and options of mkfs.")
  var form: String?

  @Option(help: "How often it is filled.")
  var rounds = 15

  @Option(help: "How large the image is.")
  var size = "1G"

  @Option(help: "Number of threads.")
  var writers = 4

  @Option(help: "The size of the largest file, in bytes.")
  var largest = 5 << 20

  @Option(help: "One file in so many is preallocated; 0 for none.")
  var preallocated = 4

  @Option(help: "The seed.")
  var seed: UInt64 = 1

  @Option(help: "After so many rounds the image is judged.")
  var judged = 10

  @Option(help: "Options of 'fsmount mkfs', with spaces between.")
  var make = ""

  @Option(help: "Options of the mount.")
  var options = ""

  @Option(help: "Where to make the image; else in memory, when there is some for files.")
  var directory: String?

  private var forms: [String] {
    guard let form else { return [] }
    return form == "all" ? FillForm.all.map(\.name) : form.split(separator: ",").map(String.init)
  }

  func validate() throws {
    for name in forms where FillForm.named(name) == nil {
      throw ValidationError("there is no form '\(name)'")
    }
  }

  func run() throws {
    if form == nil { return try run(nil) }
    for name in forms {
      say("fill \(name)")
      try run(FillForm.named(name))
    }
  }

  private func run(_ form: FillForm?) throws {
    var fill = FillOnImage.Options()
    fill.work.rounds = rounds
    fill.work.writers = writers
    fill.work.largest = largest
    fill.work.preallocated = preallocated
    fill.work.seed = seed
    fill.size = size
    fill.makeOptions = make.split(separator: " ").map(String.init)
    fill.mountOptions = options
    fill.judgedEvery = judged
    fill.directory = directory
    fill.form = form
    try FillOnImage(fill).run()
  }
}
