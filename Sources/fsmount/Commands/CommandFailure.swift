/// Why a command did not do what it was asked to: one line for people, and an exit status.
struct CommandFailure: Error, CustomStringConvertible {
  /// The statuses of mount(8).
  enum Status: Int32 {
    case usage = 1
    case system = 2
    case failed = 32
  }

  let description: String
  let status: Status

  init(_ description: String, status: Status = .failed) {
    self.description = description
    self.status = status
  }
}
