import FSCore
import Logging
import SimulatedDevices
import Testing

@testable import fsmount

/// What the mount does of a clone that the kernel is not asked about: rights, sizes, and what the kernel
/// has to forget.
@Suite(.timeLimit(.minutes(1))) struct ReflinkCallTests {
  private struct Fixture {
    let device: SimulatedDevice
    let volume: Volume
    let file: InodeID
    let target: InodeID

    init() throws {
      device = try SimulatedDevice(MemoryDevice(sizeBytes: 256 << 20))
      _ = try MakeFilesystem.write(to: device, options: MakeFilesystem.Options())
      var logger = Logger(label: "test")
      logger.logLevel = .critical
      volume = try Volume.mount(device: device, options: VolumeOptions(), logger: logger)
      let owner = Credentials(uid: 1000, gid: 1000)
      file = try volume.namespace.createNode(
        Array("file".utf8), in: volume.rootDirectory, mode: 0o100644, owner
      ).id
      target = try volume.namespace.createNode(
        Array("target".utf8), in: volume.rootDirectory, mode: 0o100755, owner
      ).id
      for (id, count) in [(file, 8192), (target, 50_000)] {
        let bytes = [UInt8](repeating: 1, count: count)
        #expect(try bytes.withUnsafeBytes { try volume.content.write(id, at: 0, $0) } == count)
      }
      try volume.synchronizeAll()
      var changes = AttributeChanges()
      changes.mode = 0o6755
      _ = try volume.attributes.setAttributes(target, changes)
    }

    var mode: UInt32 {
      get throws { try volume.attributes.attributes(of: target).item.mode & 0o7777 }
    }

    /// Nil where it is done.
    func clone(
      to offset: UInt64, length: UInt64 = 8192, keepsSizes: Bool = false, _ changes: UnaskedChanges
    ) throws -> String? {
      let mount = ControlledMount(
        volume: volume, image: "/image", mountPoint: "/mount", requests: RequestCounters())
      let operation = try #require(
        mount.reflinkOperations.first { $0.name == ReflinkCall.command })
      let source = FileIdentityCall.Answer(
        subvolume: file.tree.rawValue, inode: file.number.rawValue)
      let call = ReflinkCall(source: source, sourceOffset: 0, offset: offset, length: length)
      let context = ControlContext(
        inode: target, isOpenForWriting: true, keepsSizes: keepsSizes,
        credentials: Credentials(uid: 1000, gid: 1000), changes: changes)
      do throws(ControlFailure) {
        _ = try operation.run(ControlJSON.encode(call), context)
        return nil
      } catch {
        return error.errno
      }
    }
  }

  /// A clone that is refused leaves set-user-ID and set-group-ID bits, and one that is made does not.
  @Test func rightsGoWithTheContentOnly() throws {
    let fixture = try Fixture()
    let changes = UnaskedChanges()
    #expect(try fixture.clone(to: 100, changes) == "EINVAL")
    #expect(try fixture.clone(to: 0, length: 100, changes) == "EINVAL")
    #expect(try fixture.mode == 0o6755 && !changes.hasContent)
    #expect(try fixture.clone(to: 4096, changes) == nil)
    #expect(try fixture.mode == 0o755 && changes.hasContent)
    try fixture.volume.unmount()
  }

  /// Where the kernel keeps sizes no file becomes longer.
  @Test func keptSizes() throws {
    let fixture = try Fixture()
    #expect(
      try fixture.clone(to: 45_056, keepsSizes: true, UnaskedChanges()) == "EINVAL")
    #expect(try fixture.volume.attributes.attributes(of: fixture.target).item.size == 50_000)
    #expect(try fixture.clone(to: 40_960, keepsSizes: true, UnaskedChanges()) == nil)
    #expect(try fixture.clone(to: 45_056, UnaskedChanges()) == nil)
    #expect(try fixture.volume.attributes.attributes(of: fixture.target).item.size == 53_248)
    try fixture.volume.unmount()
  }

  /// The content is another one, though making that durable has failed: the kernel has to forget the old.
  @Test func contentIsNotedBesideAnError() throws {
    let fixture = try Fixture()
    try fixture.volume.attributes.setFlags(fixture.target, .sync, mayProtect: false)
    try fixture.volume.synchronizeAll()
    fixture.device.fail(.init([.flush]))
    let changes = UnaskedChanges()
    #expect(try fixture.clone(to: 4096, changes) == "EIO")
    #expect(changes.hasContent)
    try? fixture.volume.unmount()
  }
}
