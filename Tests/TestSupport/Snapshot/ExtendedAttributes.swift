import Glibc

/// Extended attributes of one object, never following a symlink.
package enum ExtendedAttributes {
  /// The names, in the file system's order.
  package static func names(_ path: BytePath) throws(SystemError) -> [[UInt8]] {
    while true {
      let size = try check("listxattr \(path)") { path.withCPath { Linux.llistxattr($0, nil, 0) } }
      if size == 0 { return [] }
      var list = [CChar](repeating: 0, count: size)
      let count = path.withCPath { Linux.llistxattr($0, &list, size) }
      if count < 0 {
        if errno == ERANGE { continue }
        throw SystemError(what: "listxattr \(path)", code: errno)
      }
      return list[..<count].split(separator: 0).map { $0.map { UInt8(bitPattern: $0) } }
    }
  }

  package static func value(_ path: BytePath, _ name: [UInt8]) throws(SystemError) -> [UInt8] {
    var value = [UInt8](repeating: 0, count: 65536)
    let count = try check("getxattr \(path)") {
      path.withCPath { path in
        BytePath(name).withCPath { Linux.lgetxattr(path, $0, &value, value.count) }
      }
    }
    return Array(value[..<count])
  }
}
