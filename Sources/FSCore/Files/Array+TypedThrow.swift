extension [UInt8] {
  /// `withUnsafeBytes` for a body with a typed error.
  func withUnsafeBytesThrowing(
    _ body: (UnsafeRawBufferPointer) throws(FilesystemError) -> Void
  ) throws(FilesystemError) {
    let result = withUnsafeBytes { bytes -> Result<Void, FilesystemError> in
      do throws(FilesystemError) {
        try body(bytes)
        return .success(())
      } catch {
        return .failure(error)
      }
    }
    try result.get()
  }
}
