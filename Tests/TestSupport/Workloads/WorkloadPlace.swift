import Glibc

/// Where a workload has its image and mounts it.
final class WorkloadPlace {
  private let temporary: TemporaryDirectory
  let image: String
  let mountPoint: String
  var root: BytePath { BytePath(mountPoint) }

  /// - Parameters:
  ///   - name: the image file's.
  ///   - directory: where the image is made; in memory if there is none.
  init(_ name: String, in directory: String?) throws {
    temporary = try TemporaryDirectory(inMemory: directory == nil)
    image = "\(directory ?? temporary.path)/\(name)"
    mountPoint = try temporary.directory("mount")
  }

  /// Deletes the image.
  func remove() { unlink(image) }
}
