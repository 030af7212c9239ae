/// Recognises what stands on a device by the marks that the usual tools look for, so that it is
/// not overwritten by mistake.
enum FilesystemSignatures {
  /// What is on the device, as `an ext4 file system` or the like; nil when nothing is known.
  static func find(on device: any BlockDevice) throws(FilesystemError) -> String? {
    var window = Window(device)
    for mark in marks where try window.holds(mark.bytes, at: mark.offset) { return mark.name }
    if let ext = try extended(&window) { return ext }
    if let swap = try swap(&window) { return swap }
    if let raid = try raidOrPool(&window) { return raid }
    return try partitionTable(&window)
  }

  private struct Mark {
    let name: String
    let offset: UInt64
    let bytes: [UInt8]

    init(_ name: String, _ offset: UInt64, _ bytes: [UInt8]) {
      self.name = name
      self.offset = offset
      self.bytes = bytes
    }

    init(_ name: String, _ offset: UInt64, _ text: String) {
      self.init(name, offset, Array(text.utf8))
    }
  }

  private static let marks: [Mark] = [
    Mark("a btrfs file system", 0x10040, "_BHRfS_M"),
    Mark("an XFS file system", 0, "XFSB"),
    Mark("an NTFS file system", 3, "NTFS    "),
    Mark("an exFAT file system", 3, "EXFAT   "),
    Mark("a BitLocker volume", 3, "-FVE-FS-"),
    Mark("a FAT file system", 82, "FAT32   "),
    Mark("a FAT file system", 54, "FAT16   "),
    Mark("a FAT file system", 54, "FAT12   "),
    Mark("a FAT file system", 54, "FAT     "),
    Mark("a squashfs file system", 0, "hsqs"),
    Mark("an ISO 9660 file system", 32769, "CD001"),
    Mark("a UDF file system", 32769, "BEA01"),
    Mark("a UDF file system", 32769, "NSR0"),
    Mark("a LUKS volume", 0, [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe]),
    Mark("an f2fs file system", 1024, [0x10, 0x20, 0xf5, 0xf2]),
    Mark("an EROFS file system", 1024, [0xe2, 0xe1, 0xf5, 0xe0]),
    Mark("a NILFS2 file system", 1030, [0x34, 0x34]),
    Mark("an HFS+ file system", 1024, "H+"),
    Mark("an HFS+ file system", 1024, "HX"),
    Mark("an HFS file system", 1024, "BD"),
    Mark("an APFS container", 32, "NXSB"),
    Mark("a JFS file system", 32768, "JFS1"),
    Mark("a reiserfs file system", 65588, "ReIsEr"),
    Mark("a GFS2 file system", 65536, [0x01, 0x16, 0x19, 0x70]),
    Mark("an OCFS2 file system", 4096, "OCFSV2"),
    Mark("a UFS file system", 9564, [0x19, 0x01, 0x54, 0x19]),
    Mark("a UFS file system", 66908, [0x19, 0x01, 0x54, 0x19]),
    Mark("a cramfs file system", 0, [0x45, 0x3d, 0xcd, 0x28]),
    Mark("a romfs file system", 0, "-rom1fs-"),
    Mark(
      "a bcachefs file system or bcache device", 4120,
      [
        0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d,
        0x81,
      ]),
    Mark(
      "a bcachefs file system", 4120,
      [
        0xc6, 0x85, 0x73, 0xf6, 0x66, 0xce, 0x90, 0xa9, 0xd9, 0x6a, 0x60, 0xcf, 0x80, 0x3d, 0xf7,
        0xef,
      ]),
    Mark("a dm-verity volume", 0, [0x76, 0x65, 0x72, 0x69, 0x74, 0x79, 0, 0]),
    Mark("a qcow2 disk image", 0, [0x51, 0x46, 0x49, 0xfb]),
    Mark("a VMDK disk image", 0, "KDMV"),
    Mark("a VHDX disk image", 0, "vhdxfile"),
    Mark("a VDI disk image", 64, [0x7f, 0x10, 0xda, 0xbe]),
    Mark("an LVM physical volume", 0, "LABELONE"),
    Mark("an LVM physical volume", 512, "LABELONE"),
    Mark("an LVM physical volume", 1024, "LABELONE"),
    Mark("an LVM physical volume", 1536, "LABELONE"),
    Mark("a RAID member", 0, [0xfc, 0x4e, 0x2b, 0xa9]),
    Mark("a RAID member", 4096, [0xfc, 0x4e, 0x2b, 0xa9]),
  ]

  /// ext2, ext3 and ext4 have one magic number; what they are called follows from features.
  private static func extended(_ window: inout Window) throws(FilesystemError) -> String? {
    guard try window.holds([0x53, 0xef], at: 1080) else { return nil }
    let compatible = try window.number(at: 1116)
    let incompatible = try window.number(at: 1120)
    // A journal device; then extents, 64 bits or flexible groups, which came with ext4.
    if incompatible & 0x8 != 0 { return "an ext4 journal" }
    if incompatible & 0x2c0 != 0 { return "an ext4 file system" }
    return compatible & 0x4 != 0 ? "an ext3 file system" : "an ext2 file system"
  }

  /// The mark stands at the end of the first page, however long the pages are.
  private static func swap(_ window: inout Window) throws(FilesystemError) -> String? {
    for page: UInt64 in [4096, 8192, 16384, 32768, 65536] {
      for text in ["SWAPSPACE2", "SWAP-SPACE", "S1SUSPEND", "S2SUSPEND"]
      where try window.holds(Array(text.utf8), at: page - 10) {
        return "swap space"
      }
    }
    return nil
  }

  private static func raidOrPool(_ window: inout Window) throws(FilesystemError) -> String? {
    // ZFS: an array of uberblocks in each label, the first one from 128 KiB on.
    for index: UInt64 in 0..<128
    where try window.holds([0x0c, 0xb1, 0xba, 0], at: 131072 + index * 1024) {
      return "a ZFS pool member"
    }
    let size = window.device.sizeBytes
    guard size >= 131072 else { return nil }
    // RAID superblocks of versions 1.0 and 0.90 stand near the end.
    for offset in [size.roundedDown(to: 4096) - 8192, size.roundedDown(to: 65536) - 65536]
    where try window.holds([0xfc, 0x4e, 0x2b, 0xa9], at: offset) {
      return "a RAID member"
    }
    return nil
  }

  private static func partitionTable(_ window: inout Window) throws(FilesystemError) -> String? {
    for sector: UInt64 in [512, 4096]
    where try window.holds(Array("EFI PART".utf8), at: sector) {
      return "a GPT partition table"
    }
    guard try window.holds([0x55, 0xaa], at: 510) else { return nil }
    // A boot sector without partitions is no partition table.
    for entry: UInt64 in 0..<4 {
      let type = try window.number(at: 446 + entry * 16 + 4) & 0xff
      if type != 0 { return "an MBR partition table" }
    }
    return nil
  }

  /// The bytes of a device, read in pieces that serve many questions.
  private struct Window {
    let device: any BlockDevice
    private let buffer = AlignedBuffer(count: 65536)
    private var start: UInt64 = 0
    private var count = 0

    init(_ device: any BlockDevice) { self.device = device }

    mutating func holds(_ bytes: [UInt8], at offset: UInt64) throws(FilesystemError) -> Bool {
      guard let found = try part(offset, bytes.count) else { return false }
      return found.elementsEqual(bytes)
    }

    /// Four bytes as a number; 0 beyond the end.
    mutating func number(at offset: UInt64) throws(FilesystemError) -> UInt32 {
      try part(offset, 4)?.u32(0) ?? 0
    }

    private mutating func part(
      _ offset: UInt64, _ length: Int
    ) throws(FilesystemError) -> UnsafeRawBufferPointer? {
      if offset < start || offset + UInt64(length) > start + UInt64(count) {
        let begin = offset.roundedDown(to: 4096)
        guard offset + UInt64(length) <= device.sizeBytes else { return nil }
        start = begin
        count = Int(min(UInt64(buffer.count), device.sizeBytes - begin))
        try device.read(into: buffer.bytes.part(0, count), at: PhysicalAddress(begin))
      }
      return buffer.readable.part(Int(offset - start), length)
    }
  }
}
