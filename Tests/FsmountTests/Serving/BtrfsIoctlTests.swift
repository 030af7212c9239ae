import FSCore
import Testing

@testable import fsmount

/// The arguments of btrfs's ioctls, and where their descriptors lead. Both come from any program.
@Suite(.timeLimit(.minutes(1))) struct BtrfsIoctlTests {
  private func bytes(_ name: [UInt8], at offset: Int, count: Int = 4096) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    for (index, byte) in name.enumerated() where offset + index < count {
      bytes[offset + index] = byte
    }
    return bytes
  }

  private func error(_ bytes: [UInt8], _ known: UInt64? = nil) -> FilesystemError? {
    bytes.withUnsafeBytes { bytes -> FilesystemError? in
      do throws(FilesystemError) {
        if let known {
          _ = try VolumeArguments2(bytes, known: known).name()
        } else {
          _ = try VolumeArguments(bytes)
        }
        return nil
      } catch {
        return error
      }
    }
  }

  @Test func namesEndWhereTheyShould() throws {
    #expect(error(bytes(Array("name".utf8), at: 8)) == nil)
    #expect(error(bytes(Array("name".utf8), at: 56), 2) == nil)
    let full = [UInt8](repeating: 65, count: 5000)
    #expect(error(bytes(full, at: 8)) == .nameTooLong)
    #expect(error(bytes(full, at: 56), 2) == .nameTooLong)
    for count in [0, 7, 8, 16, 4095, 4097] {
      #expect(error(bytes([65], at: 8, count: count))?.errno == 22)
      #expect(error(bytes([65], at: 56, count: count), 2)?.errno == 22)
    }
    #expect(error(bytes(Array("a/b".utf8), at: 8))?.errno == 22)
    var flags = bytes([65], at: 56)
    flags[16] = 4
    #expect(error(flags, 2)?.errno == 95)
    #expect(error(flags, 4) == nil)
  }

  /// Numbers come from the image; the answer has room for 255.
  @Test func referencesOfAnyNumber() throws {
    func encode(_ numbers: [UInt64]) -> (next: UInt64, count: UInt8) {
      let found = numbers.map { (child: TreeID($0), directory: ObjectID(256)) }
      let bytes = SubvolumeReferences.encode(found, from: 7)
      let next = bytes.withUnsafeBytes { $0.loadUnaligned(as: UInt64.self) }
      return (next, bytes[8 + 16 * 255])
    }
    #expect(encode([]) == (7, 0))
    #expect(encode([256, 300]) == (301, 2))
    #expect(encode([256, .max]) == (.max, 2))
    #expect(encode(Array(1000..<1256)) == (1255, 255))
  }

  @Test func descriptorsAreFoundInProc() {
    let table = """
      22 1 8:1 / / rw - ext4 /dev/sda1 rw
      36 22 0:45 / /mnt rw shared:1 - fuse.fsmount /image rw
      """
    #expect(CallerDescriptor.device(ofMount: "36", in: table) == "0:45")
    #expect(CallerDescriptor.device(ofMount: "3", in: table) == nil)
    #expect(CallerDescriptor.device(ofMount: "36", in: "36 22") == nil)
    let fields = CallerDescriptor.fields(
      "pos:\t0\nflags:\t0100000\nmnt_id:\t36\nino:\t281474976710912\n")
    #expect(fields["mnt_id"] == "36" && fields["ino"] == "281474976710912")
    #expect(CallerDescriptor.fields("nothing\n").isEmpty)
    #expect(CallerDescriptor(process: 0, descriptor: -1) == nil)
    #expect(CallerDescriptor(process: 0, descriptor: .max) == nil)
  }
}
