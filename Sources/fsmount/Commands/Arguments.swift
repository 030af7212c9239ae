import Glibc

/// The bytes that the program was called with.
enum Arguments {
  /// Throws unless all arguments are UTF-8. A text cannot hold others: with each wrong byte replaced by
  /// U+FFFD it would name another file, perhaps one that is there.
  static func requireUTF8() throws(CommandFailure) {
    let count = Int(CommandLine.argc)
    for place in 1..<max(count, 1) {
      guard let argument = CommandLine.unsafeArgv[place] else { break }
      if String(validatingCString: argument) == nil { throw refusal(place, argument) }
    }
  }

  private static func refusal(
    _ place: Int, _ argument: UnsafeMutablePointer<CChar>
  ) -> CommandFailure {
    CommandFailure(
      "argument \(place), '\(String(cString: argument))', is not UTF-8, as arguments have to be; in a "
        + "mount other programs can be given such names: rmdir(1) deletes an empty subvolume, and "
        + "mv(1) gives another name", status: .usage)
  }
}
