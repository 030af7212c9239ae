/// What was found wrong in an image, and left out. Belongs to one thread.
package final class Remarks {
  package private(set) var kept: [String] = []
  package private(set) var count = 0

  /// Every damaged block of a large image would say the same thing over and over.
  private static let mostKept = 100

  package init() {}

  package func add(_ remark: String) {
    count += 1
    if kept.count < Self.mostKept { kept.append(remark) }
  }
}
