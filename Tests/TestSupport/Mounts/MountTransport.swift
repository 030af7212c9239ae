import Glibc

/// How requests come to a mount.
package enum MountTransport: String, Sendable, CaseIterable {
  case device
  case ring

  /// Those that this machine has, or would have if root turned them on.
  package static let available: [MountTransport] =
    RingParameter.isOn || RingParameter.canBeSet ? allCases : [.device]

  /// The mount option that asks for it.
  package var option: String { self == .ring ? "io_uring=on" : "io_uring=off" }

  /// What the tests were told to use, by `FSMOUNT_IO_URING=on` or `off`; nil when the program may
  /// choose. Tests/run.sh sets it.
  package static let chosen: MountTransport? = {
    switch currentEnvironment()["FSMOUNT_IO_URING"] {
    case "on": .ring
    case "off": .device
    default: nil
    }
  }()
}

/// The kernel's parameter that lets mounts use io_uring. It is as it was when this object is gone.
package final class RingParameter {
  private static let path = "/sys/module/fuse/parameters/enable_uring"

  package static var isOn: Bool { readText(path).hasPrefix("Y") }
  package static var canBeSet: Bool { isRoot && access(path, W_OK) == 0 }

  private let former: Bool

  package init(isOn: Bool) throws {
    former = Self.isOn
    if former != isOn { try Self.set(isOn) }
  }

  deinit {
    if Self.isOn != former { try? Self.set(former) }
  }

  private static func set(_ isOn: Bool) throws {
    let descriptor = try check("open \(path)") { open(path, O_WRONLY | O_CLOEXEC) }
    defer { close(descriptor) }
    try check("write \(path)") { write(descriptor, isOn ? "Y" : "N", 1) }
  }
}
