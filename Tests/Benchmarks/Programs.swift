import Glibc
import TestSupport

/// Where programs are that measuring needs.
enum Programs {
  /// Built beside this one.
  static let emptyServer: String? = {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
    guard count > 0 else { return nil }
    let program = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let path = BytePath(program).parent.appending("emptyserver").string
    return access(path, X_OK) == 0 ? path : nil
  }()

  /// As the shell finds it, or where Debian puts PostgreSQL's: its newest version's.
  static func find(_ program: String) -> String? {
    if let path = Shell.find(program) { return path }
    let versions = (try? directoryNames(BytePath("/usr/lib/postgresql"))) ?? []
    return versions.compactMap { Int(String(decoding: $0, as: UTF8.self)) }.sorted().reversed()
      .map { "/usr/lib/postgresql/\($0)/bin/\(program)" }
      .first { access($0, X_OK) == 0 }
  }

  static func required(_ program: String) throws -> String {
    guard let path = find(program) else { throw TestFailure("\(program) is not installed") }
    return path
  }
}
