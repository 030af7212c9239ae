import Glibc

extension MakeFilesystem {
  /// Makes a file system in the file or on the block device `path`.
  ///
  /// A file that does not exist is created, sparse, `options.sizeBytes` long; one that does is
  /// given that length. Throws, and changes nothing, when the image is in use, or when it holds
  /// something recognisable and `options.force` is not set.
  package static func create(
    path: String, options: Options
  ) throws(FilesystemError) -> Summary {
    // What can be wrong with the options is found before a file is made or touched.
    let choices = try Choices(options)
    if let size = options.sizeBytes {
      _ = try layout(choices, sizeBytes: size.roundedDown(to: sectorSize))
    }

    var status = stat()
    if stat(path, &status) != 0 {
      guard Glibc.errno == ENOENT else { throw failure("", path) }
      return try createFile(path, options)
    }
    if let device = LoopDevices.attached(to: status) {
      throw .busy(
        "\(path) is in use: it is attached to \(device); unmount that, "
          + "or run: losetup -d \(device)")
    }
    try checkIsOverwritable(path, options)
    if status.st_mode & S_IFMT == S_IFREG, let size = options.sizeBytes {
      try resize(path, to: size)
    }
    return try write(to: FileDevice(path: path, readOnly: false), options: options)
  }

  private static func createFile(
    _ path: String, _ options: Options
  ) throws(FilesystemError) -> Summary {
    guard let size = options.sizeBytes else {
      throw .invalidArgument("\(path) does not exist; give its size with --size")
    }
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw failure("", path) }
    close(descriptor)
    do throws(FilesystemError) {
      try resize(path, to: size)
      return try write(to: FileDevice(path: path, readOnly: false), options: options)
    } catch {
      unlink(path)
      throw error
    }
  }

  /// Throws when the image is locked or holds something that is worth a warning.
  private static func checkIsOverwritable(
    _ path: String, _ options: Options
  ) throws(FilesystemError) {
    let device = try FileDevice(path: path, readOnly: false)
    guard !options.force, let found = try FilesystemSignatures.find(on: device) else { return }
    throw .busy(
      "\(path) holds \(found); use --force to overwrite it, all that is in it will be lost")
  }

  private static func resize(_ path: String, to size: UInt64) throws(FilesystemError) {
    guard size <= UInt64(Int64.max) else {
      throw .invalidArgument("no file can have \(size) bytes")
    }
    guard truncate(path, off_t(size)) == 0 else {
      throw failure("cannot have \(ByteCount.text(size)): ", path)
    }
  }

  private static func failure(_ what: String, _ path: String) -> FilesystemError {
    .cannotMount("\(path): \(what)\(String(cString: strerror(Glibc.errno)))")
  }
}
