/// `FsxModel` on an image of its own, which is unmounted and mounted again now and then, and must
/// be sound in the end.
package final class FsxOnImage {
  private let kind: MountKind
  private let mountOptions: String
  private let directory: TemporaryDirectory
  private let image: String
  private let mountPoint: String

  /// `mountOptions` empty means the usual ones.
  package init(
    kind: MountKind, variant: ImageVariant = ImageVariant(name: "plain"),
    mountOptions: String = ""
  ) throws {
    self.kind = kind
    self.mountOptions = mountOptions
    directory = try TemporaryDirectory(inMemory: true)
    image = directory.file("fsx.img")
    mountPoint = try directory.directory("mount")
    switch kind {
    case .kernel: try variant.makeWithKernelTools(image)
    case .fsmount: try variant.makeWithFsmount(image)
    }
  }

  /// Returns how many operations there were of each kind.
  @discardableResult
  package func run(_ options: FsxOptions) throws -> [String: Int] {
    var mounted = try kind.mount(image, at: mountPoint, options: mountOptions)
    defer { try? mounted.unmount() }
    let fsx = try FsxModel(directory: BytePath(mountPoint), options: options) {
      try mounted.unmount()
      mounted = try self.kind.mount(self.image, at: self.mountPoint, options: self.mountOptions)
    }
    defer { fsx.closeFile() }
    try fsx.run()
    fsx.closeFile()
    try mounted.unmount()
    let check = try ImageCheck(image)
    try check.expectSound(tolerated: kind == .kernel ? check.doubtfulCaches : [])
    if kind == .fsmount { try FsmountProgram.verifyCache(image) }
    return fsx.counts
  }
}
