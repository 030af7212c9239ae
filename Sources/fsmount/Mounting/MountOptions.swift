import FSCore
import Glibc

/// What `-o` says, sorted by the part of the program that it is for.
struct MountOptions {
  var volume = VolumeOptions()

  /// Options that libfuse and the kernel understand, in the order given.
  var library: [String] = []

  /// The mount's source in the mount table, where it is not to be the image's path.
  var source: String?
  var subtype = "fsmount"

  /// The largest read that the kernel is to ask for; 0 leaves it to the kernel.
  var maximumRead: UInt32 = 0
  /// What the kernel reads ahead of a program; nil when libfuse was told.
  ///
  /// - Parameter hasCompressed: files may be compressed. Then several requests are to be on their way
  ///   at a time, as decompressing takes longer than all else and has processors to itself.
  func readAheadBytes(hasCompressed: Bool) -> Int? {
    library.contains { $0.hasPrefix("max_readahead=") } ? nil : (hasCompressed ? 4 : 1) << 20
  }
  /// Threads that serve requests; nil for as many as suit the machine.
  var threads: UInt32?
  /// A channel to the kernel for each thread.
  var cloneDescriptors = false
  /// Whether close(2) is to say that data were lost, for which the kernel asks at each close of a file
  /// that was open for writing.
  var reportsAtClose = false
  /// Whether requests come over io_uring. Not by itself: where waking a processor is quick, the device
  /// with a thread that looks for requests meanwhile is quicker (BENCHMARKS.md).
  var ring = RingChoice.off
  var debug = false

  /// Whether the kernel is to check permissions; else each user that may enter may do everything.
  var checksPermissions: Bool { library.contains("default_permissions") }

  /// Throws, naming it, when an option is not known or its value is wrong.
  init(_ lists: [String]) throws(CommandFailure) {
    for list in lists {
      for option in Self.split(list) { try apply(option) }
    }
    // Without it each user that may enter the mount could do everything in it.
    if library.contains("allow_other"), !library.contains("default_permissions") {
      library.append("default_permissions")
    }
  }

  private mutating func apply(_ option: String) throws(CommandFailure) {
    let parts = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    let name = String(parts[0])
    let value = parts.count == 2 ? String(parts[1]) : nil

    guard let meaning = Self.meaning(of: name) else {
      throw CommandFailure(
        "'\(option)' is no mount option that fsmount knows; 'fsmount help mount' lists them, and "
          + "fsmount(8)",
        status: .usage)
    }
    switch meaning {
    case .nothing:
      break
    case .refused(let why):
      throw CommandFailure("'\(option)': \(why)", status: .usage)
    case .library, .setting:
      guard value == nil else {
        throw CommandFailure("'\(option)': '\(name)' takes no value", status: .usage)
      }
      if case .setting(let set) = meaning { set(&self) } else { library.append(option) }
    case .libraryWithValue:
      guard value != nil else { throw Self.missingValue(name) }
      library.append(option)
    case .settingWithValue(let standard, let set):
      guard let value = value ?? standard else { throw Self.missingValue(name) }
      guard set(&self, value) else {
        let hint = Self.valueHints[name].map { "; it can be \($0)" } ?? ""
        throw CommandFailure(
          "'\(option)': not a value that '\(name)' can have\(hint)", status: .usage)
      }
    }
  }

  private static func missingValue(_ name: String) -> CommandFailure {
    CommandFailure("'\(name)' needs a value: \(name)=…", status: .usage)
  }

  /// Throws when some option is root's alone, as fusermount3 would have it.
  func requireAllowed() throws(CommandFailure) {
    let mine = library.first { $0 == "allow_other" || $0 == "allow_root" }
    guard let mine, geteuid() != 0 else { return }
    let lines = MountTable.readAll("/etc/fuse.conf").split(separator: "\n")
    let isAllowed = lines.contains { line in
      line.split(whereSeparator: \.isWhitespace).elementsEqual(["user_allow_other"])
    }
    guard isAllowed else {
      throw CommandFailure(
        "'\(mine)' is root's alone here: leave it out, or have root put a line "
          + "'user_allow_other' into /etc/fuse.conf", status: .usage)
    }
  }

  /// Splits at commas, but not at those after a backslash or between double quotes; the
  /// backslash goes, the quotes stay.
  static func split(_ list: String) -> [String] {
    var options: [String] = []
    var option = ""
    var isQuoted = false
    var isEscaped = false
    for character in list {
      if isEscaped {
        option.append(character)
        isEscaped = false
      } else if character == "\\" {
        isEscaped = true
      } else if character == ",", !isQuoted {
        options.append(option)
        option = ""
      } else {
        if character == "\"" { isQuoted.toggle() }
        option.append(character)
      }
    }
    options.append(option)
    return options.filter { !$0.isEmpty }
  }

  /// The argument vector for libfuse.
  func libraryArguments(image: String, readOnly: Bool) -> [String] {
    var options = library
    options.append(readOnly ? "ro" : "rw")
    options.append("fsname=\(source ?? image)")
    options.append("subtype=\(subtype)")
    if maximumRead > 0 { options.append("max_read=\(maximumRead)") }
    if debug { options.append("debug") }
    return ["fsmount"] + options.flatMap { ["-o", Self.escape($0)] }
  }

  /// libfuse takes options apart at commas, and backslashes out.
  private static func escape(_ option: String) -> String {
    var escaped = ""
    for character in option {
      if character == "," || character == "\\" { escaped.append("\\") }
      escaped.append(character)
    }
    return escaped
  }
}
