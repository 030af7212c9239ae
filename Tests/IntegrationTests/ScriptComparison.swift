import Glibc
import TestSupport
import Testing

/// A shell script that prints its results, run on a mount by the kernel and on ours: both print
/// the same, and each reads the other's image as its writer does.
struct ScriptComparison {
  let script: String
  /// Another, which shows what the first has left.
  let everything: String

  init(_ script: String, everything: String) {
    self.script = script
    self.everything = everything
  }

  /// What begins every script. Users 1000 and 1001 share group 1000, 1002 is of none.
  static let prelude = #"""
    A="setpriv --reuid 1000 --regid 1000 --clear-groups"
    B="setpriv --reuid 1001 --regid 1001 --groups 1000"
    C="setpriv --reuid 1002 --regid 1002 --clear-groups"
    run() { echo "+ $*"; "$@" 2>&1 | sed 's/^.*: //'; }
    umask 022
    chmod 777 .
    """#

  /// What the script prints in the directory `t` of the mount.
  static func run(_ parts: [String], in scratch: Scratch) throws -> [String] {
    let script = scratch.directory.file("script")
    let text = ([prelude] + parts).joined(separator: "\n") + "\n"
    try writeFile(BytePath(script), Array(text.utf8))
    let directory = scratch.mountPoint + "/t"
    mkdir(directory, 0o755)
    let command = "cd '\(directory)' && sh '\(script)'"
    return try Shell.run("sh", "-c", command, timeout: 150).orThrow().text
      .split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  }

  static func expectSame(_ kernel: [String], _ ours: [String]) {
    #expect(kernel.count == ours.count)
    var shown = 0
    for (number, (theirs, own)) in zip(kernel, ours).enumerated() where theirs != own {
      shown += 1
      if shown > 10 { break }
      let context = ours[max(0, number - 6)..<number].joined(separator: "\n")
      Issue.record("kernel '\(theirs)', ours '\(own)', after:\n\(context)")
    }
  }

  func run() throws {
    let theirs = try Scratch()
    try ImageVariant(name: "plain").makeWithKernelTools(theirs.image)
    chmod(theirs.directory.path, 0o755)
    let kernel = try theirs.mountByKernel("space_cache=v1")
    defer { try? kernel.unmount() }
    let expected = try Self.run([script], in: theirs)
    let kernelTree = try Self.run([everything], in: theirs)
    try kernel.unmount()

    let own = try Scratch()
    try own.make("--size", "1G")
    chmod(own.directory.path, 0o755)
    let mounted = try own.mount("allow_other", lifetime: 200)
    defer { try? mounted.unmount() }
    Self.expectSame(expected, try Self.run([script], in: own))
    let ownTree = try Self.run([everything], in: own)
    try mounted.unmount()
    try own.expectSound()

    // Each other's images.
    let kernelAgain = try own.mountByKernel()
    defer { try? kernelAgain.unmount() }
    Self.expectSame(try Self.run([everything], in: own), ownTree)
    try kernelAgain.unmount()
    try kernelAgain.expectCleanLog()
    let mountedAgain = try theirs.mount("allow_other", lifetime: 60)
    defer { try? mountedAgain.unmount() }
    Self.expectSame(kernelTree, try Self.run([everything], in: theirs))
  }
}
