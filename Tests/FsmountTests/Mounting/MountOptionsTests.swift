import FSCore
import Testing

@testable import fsmount

@Suite(.timeLimit(.minutes(2))) struct MountOptionsTests {
  @Test func standard() throws {
    let options = try MountOptions([])
    #expect(!options.volume.readOnly)
    #expect(options.volume.commitInterval == 5)
    #expect(options.volume.spaceCache == .asImage)
    #expect(options.volume.cacheBytes == 256 << 20)
    #expect(options.volume.accessTimes == .relatime)
    #expect(options.volume.subvolume == .imageDefault)
    #expect(options.ring == .off)
    #expect(
      options.libraryArguments(image: "/i", readOnly: false)
        == ["fsmount", "-o", "rw", "-o", "fsname=/i", "-o", "subtype=fsmount"])
  }

  @Test func ours() throws {
    let options = try MountOptions([
      "ro,commit=30,cache=64M,clear_cache", "nospace_cache,noatime,nologreplay,subvolid=0",
    ])
    #expect(options.volume.readOnly)
    #expect(options.volume.commitInterval == 30)
    #expect(options.volume.cacheBytes == 64 << 20)
    #expect(options.volume.clearCache)
    #expect(options.volume.spaceCache == .none)
    #expect(options.volume.accessTimes == .noatime)
    #expect(options.volume.noLogReplay)
    #expect(options.volume.subvolume == .id(.topLevel))
  }

  @Test func theLastSubvolumeCounts() throws {
    let byNumber = try MountOptions(["subvol=a,subvolid=5"])
    #expect(byNumber.volume.subvolume == .id(.topLevel))
    let byPath = try MountOptions(["subvolid=5", "subvol=a"])
    #expect(byPath.volume.subvolume == .path("a"))
  }

  @Test func whatCloseSays() throws {
    #expect(try !MountOptions([]).reportsAtClose)
    let options = try MountOptions(["flush"])
    #expect(options.reportsAtClose && options.library.isEmpty)
  }

  @Test func howRequestsCome() throws {
    for (text, choice) in [("io_uring", RingChoice.on), ("io_uring=off", .off)] {
      let options = try MountOptions([text])
      #expect(options.ring == choice && options.library.isEmpty)
    }
    #expect(try MountOptions(["io_uring=off,io_uring=auto"]).ring == .auto)
    for wrong in ["io_uring=", "io_uring=yes"] {
      #expect(throws: CommandFailure.self) { try MountOptions([wrong]) }
    }
  }

  @Test func compression() throws {
    #expect(try MountOptions([]).volume.compression == nil)
    #expect(
      try MountOptions(["compress"]).volume.compression
        == CompressionChoice(CompressionMethod(.zlib), isForced: false))
    #expect(
      try MountOptions(["compress=zstd:15"]).volume.compression
        == CompressionChoice(CompressionMethod(.zstd, level: 15), isForced: false))
    #expect(
      try MountOptions(["compress-force=lzo"]).volume.compression
        == CompressionChoice(CompressionMethod(.lzo), isForced: true))
    // The last one counts.
    #expect(
      try MountOptions(["compress-force=zstd,compress=zlib:1"]).volume.compression
        == CompressionChoice(CompressionMethod(.zlib, level: 1), isForced: false))
    for none in ["compress=no", "compress=none", "compress-force=no"] {
      #expect(try MountOptions(["compress-force=zstd", none]).volume.compression == nil)
    }
  }

  /// What mount(8) passes besides, and what is for others to read.
  @Test func theirs() throws {
    let options = try MountOptions([
      "defaults,rw,suid,nodev,_netdev,nofail,user=me,comment=x,x-systemd.automount,X-mount.mkdir"
    ])
    #expect(options.library == ["suid", "nodev"])
  }

  @Test func lastOfTwoWins() throws {
    #expect(try MountOptions(["ro", "rw"]).volume.readOnly == false)
    #expect(try MountOptions(["noatime,strictatime"]).volume.accessTimes == .strict)
  }

  /// A mount that lets others in has their permissions checked.
  @Test func permissionsOfOthers() throws {
    #expect(try MountOptions(["allow_other"]).library == ["allow_other", "default_permissions"])
    #expect(
      try MountOptions(["default_permissions,allow_other"]).library
        == ["default_permissions", "allow_other"])
  }

  @Test func commasAndBackslashes() throws {
    #expect(MountOptions.split(#"a,b\,c,"d,e",,f\\"#) == ["a", "b,c", #""d,e""#, #"f\"#])
    let arguments = try MountOptions([]).libraryArguments(image: #"/a,b\c"#, readOnly: true)
    #expect(arguments.contains("ro"))
    #expect(arguments.contains(#"fsname=/a\,b\\c"#))
  }

  @Test(arguments: [
    "bogus", "commit", "commit=0", "commit=x", "commit=99999999", "ro=1", "cache=1K", "cache=",
    "space_cache=v3", "subvolid=7", "remount", "noacl", "max_threads=0", "suid=1", "rescue=all",
    "compress=", "compress=zlib:10", "compress=zstd:16", "compress=zstd:-16", "compress=lzo:1",
    "compress=lz4", "compress-force=zlib:", "compress=zstd:3x", "flush=1",
  ])
  func refuses(_ option: String) {
    let error = #expect(throws: CommandFailure.self) { try MountOptions(["rw,\(option)"]) }
    #expect(error?.description.contains(option.split(separator: "=")[0]) == true)
    #expect(error?.status == .usage)
  }
}
