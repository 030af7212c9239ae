import CFuse
import FSCore
import Glibc
import Logging

/// The whole life of a mount, in the process that serves it.
struct Mount {
  let image: String
  let mountPoint: String
  let options: MountOptions
  let background: Background

  /// Returns the process's exit status, when the image holds everything. The image stays locked
  /// until the process ends.
  func run() throws -> Int32 {
    // A limit on the size of files is an error of the write that meets it.
    signal(SIGXFSZ, SIG_IGN)
    let log = MountLog.logger("fsmount", level: options.debug ? .debug : .info)
    let device = try openImage()
    let volume = try openVolume(device, log)

    let server: FuseServer
    let session: FuseSession
    do {
      (server, session) = try begin(volume, log)
    } catch {
      try? volume.unmount()
      throw error
    }

    let loopStatus = Result { () throws(CommandFailure) in
      try session.run(
        threads: options.threads, cloneDescriptors: options.cloneDescriptors,
        readAheadBytes: options.readAheadBytes(hasCompressed: volume.mayHaveCompressed)
      ) { [background, image, mountPoint] in
        background.ready(name: "fsmount")
        log.info("\(image) is mounted on \(mountPoint)")
      }
    }
    let status = withExtendedLifetime((device, session)) {
      end(volume, server, (try? loopStatus.get()) ?? 0, log)
    }
    _ = try loopStatus.get()
    return status
  }

  /// The kernel would write to the image through a loop device, whatever lock we hold. One that
  /// is being detached is waited for.
  private func requireNoLoopDevice() throws {
    guard !options.volume.readOnly else { return }
    var status = stat()
    for _ in 0..<50 {
      guard stat(image, &status) == 0, LoopDevices.attached(to: status) != nil else { return }
      usleep(100_000)
    }
    guard let device = LoopDevices.attached(to: status) else { return }
    throw CommandFailure(
      "\(image) is attached to \(device), through which the kernel may write to it; unmount "
        + "that and detach it ('losetup -d \(device)'), or mount \(device) itself")
  }

  /// Opens and locks the image, when a mount of it that is finishing has let it go.
  private func openImage() throws -> FileDevice {
    try requireNoLoopDevice()
    let patienceSeconds = 60.0
    let stepSeconds = 0.1
    var waitedSeconds = 0.0
    while true {
      do throws(FilesystemError) {
        return try FileDevice(
          path: image, readOnly: options.volume.readOnly, waitSeconds: stepSeconds)
      } catch {
        guard case .busy(let why) = error else { throw error }
        if let entry = MountTable.entries().last(where: { $0.isOurs && $0.source == image }) {
          throw CommandFailure(
            "\(image) is mounted on \(entry.mountPoint); 'fsmount unmount \(entry.mountPoint)' "
              + "ends that")
        }
        guard waitedSeconds < patienceSeconds else { throw CommandFailure(why) }
        waitedSeconds += stepSeconds
        if waitedSeconds == stepSeconds {
          StandardError.write("fsmount: waiting for another fsmount to let go of \(image)")
        }
      }
    }
  }

  private func openVolume(_ device: FileDevice, _ log: Logger) throws -> Volume {
    do throws(FilesystemError) {
      let volume = try Volume.mount(device: device, options: options.volume, logger: log)
      if volume.isReadOnly { device.shareLock() }
      return volume
    } catch {
      throw CommandFailure("\(image) cannot be mounted: \(error)")
    }
  }

  /// Mounts; requests wait in the kernel until the session runs.
  private func begin(_ volume: Volume, _ log: Logger) throws -> (FuseServer, FuseSession) {
    let server = FuseServer(
      mount: ControlledMount(
        volume: volume, image: image, mountPoint: mountPoint, requests: RequestCounters()),
      log: log, maximumRead: options.maximumRead, checksPermissions: options.checksPermissions,
      reportsAtClose: options.reportsAtClose)
    let session = try FuseSession(
      server: server,
      arguments: options.libraryArguments(image: image, readOnly: volume.isReadOnly),
      mountPoint: mountPoint, log: log)
    try session.mount(options.ring, threads: options.threads)
    return (server, session)
  }

  /// The last commit, and the news of it.
  private func end(
    _ volume: Volume, _ server: FuseServer, _ loopStatus: Int32, _ log: Logger
  ) -> Int32 {
    var failure: String?
    if loopStatus < 0 {
      failure = "the connection to the kernel broke: \(String(cString: strerror(-loopStatus)))"
    }
    volume.stopMoving()
    server.resizes.finish()
    do throws(FilesystemError) {
      try volume.unmount()
    } catch {
      failure = "the last changes to \(image) could not be written: \(error)"
    }

    if let failure {
      log.error("\(failure)")
    } else {
      log.info("\(image) is unmounted")
    }
    server.watchers.report(failure)
    return failure == nil ? 0 : CommandFailure.Status.failed.rawValue
  }
}
