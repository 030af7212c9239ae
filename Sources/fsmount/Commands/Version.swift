import CFuse

/// What the program is called, and which one it is.
enum Version {
  static let number = "0.2.0"

  /// What `fsmount --version` prints.
  static let text = "fsmount \(number), with libfuse \(String(cString: fuse_pkgversion()))"
}
