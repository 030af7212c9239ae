import Glibc

/// The built `fsmount` binary.
package enum FsmountProgram {
  /// From `FSMOUNT`; else beside the running program; else in the checkout's build directory.
  package static let path: String? = {
    if let given = currentEnvironment()["FSMOUNT"], !given.isEmpty { return given }
    var candidates: [String] = []
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
    if count > 0 {
      let program = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
      candidates.append(BytePath(program).parent.appending("fsmount").string)
    }
    let checkout = BytePath(#filePath).parent.parent.parent.parent.string
    #if DEBUG
      let configurations = ["debug", "release"]
    #else
      let configurations = ["release", "debug"]
    #endif
    for root in [checkout, "."] {
      candidates += configurations.map { "\(root)/.build/\($0)/fsmount" }
    }
    return candidates.first { access($0, X_OK) == 0 }
  }()

  package static func required() throws -> String {
    guard let path else {
      throw TestFailure("fsmount is not built; build it or name it in FSMOUNT")
    }
    return path
  }

  /// Runs `fsmount ARGUMENTS` to its end.
  @discardableResult
  package static func run(_ arguments: [String], timeout: Double = 60) throws -> CommandResult {
    try Shell.run([required()] + arguments, timeout: timeout)
  }

  @discardableResult
  package static func run(_ arguments: String..., timeout: Double = 60) throws -> CommandResult {
    try run(arguments, timeout: timeout)
  }

  /// `fsmount cache IMAGE --verify`: throws unless every cache is exact.
  package static func verifyCache(_ image: String) throws {
    try run("cache", image, "--verify", timeout: 120).orThrow()
  }
}
