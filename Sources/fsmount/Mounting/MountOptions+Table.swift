import FSCore

extension MountOptions {
  enum Meaning: Sendable {
    /// mount(8)'s own business, or what we do in any case.
    case nothing
    case library
    case libraryWithValue
    case setting(@Sendable (inout MountOptions) -> Void)
    /// Says whether the value, or what stands for a missing one, is one that it may have.
    case settingWithValue(orElse: String? = nil, @Sendable (inout MountOptions, String) -> Bool)
    case refused(String)
  }

  /// What the option `name` means; nil when there is none of that name.
  static func meaning(of name: String) -> Meaning? {
    if let meaning = table[name] { return meaning }
    // Comments for other programs, systemd above all.
    return name.lowercased().hasPrefix("x-") ? .nothing : nil
  }

  /// Of all options but those that begin with `x-`.
  static var names: [String] { Array(table.keys) }

  private static let table: [String: Meaning] = {
    var table: [String: Meaning] = [:]
    for name in ignored { table[name] = .nothing }
    for name in flags { table[name] = .library }
    for name in libraryValues { table[name] = .libraryWithValue }
    return table.merging(settings) { $1 }.merging(refused) { $1 }
  }()

  private static let ignored = [
    // mount(8)
    "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "_netdev", "nofail",
    "loop", "comment", "silent", "loud", "nomand", "noiversion", "lazytime", "nolazytime",
    "helper", "uhelper", "verbose",
    // What always holds here
    "norelatime", "nostrictatime", "acl", "user_xattr", "notreelog", "barrier",
    "datacow", "datasum", "noautodefrag", "nonempty", "big_writes", "max_idle_threads",
  ]

  private static let flags = [
    "suid", "nosuid", "dev", "nodev", "exec", "noexec", "async", "sync", "dirsync",
    // libfuse
    "allow_other", "allow_root", "auto_unmount", "default_permissions",
    "sync_read", "async_read", "atomic_o_trunc", "no_remote_lock", "no_remote_flock",
    "no_remote_posix_lock", "splice_write", "no_splice_write", "splice_move", "no_splice_move",
    "splice_read", "no_splice_read", "auto_inval_data", "no_auto_inval_data", "async_dio",
    "no_async_dio", "writeback_cache", "no_writeback_cache",
  ]

  private static let libraryValues = [
    "context", "fscontext", "defcontext", "rootcontext", "max_write", "max_readahead",
    "max_background", "congestion_threshold", "time_gran", "readdirplus",
  ]

  /// What the values of some options can be.
  static let valueHints = [
    "commit": "1 to 86400 seconds",
    "cache": "a size of at least 16M",
    "space_cache": "v1 or v2",
    "rescue": "nologreplay only",
    "discard": "sync or async",
    "compress": compressionHint,
    "compress-force": compressionHint,
    "subvol": "a subvolume's path from the top level",
    "subvolid": "a subvolume's number, or 5 for the top level",
    "max_threads": "1 to 1024",
    "io_uring": "auto, on or off",
  ]

  private static let compressionHint =
    "zlib or zlib:1 to zlib:9, lzo, zstd or zstd:1 to zstd:15 (zstd:-15 to zstd:-1 are faster), or no"

  private static func compression(isForced: Bool) -> Meaning {
    .settingWithValue(orElse: "zlib") { options, value in
      guard value != "no", value != "none" else {
        options.volume.compression = nil
        return true
      }
      guard let method = CompressionMethod(option: value) else { return false }
      options.volume.compression = CompressionChoice(method, isForced: isForced)
      return true
    }
  }

  private static let settings: [String: Meaning] = [
    "ro": .setting { $0.volume.readOnly = true },
    "rw": .setting { $0.volume.readOnly = false },
    "atime": .setting { $0.volume.accessTimes = .relatime },
    "relatime": .setting { $0.volume.accessTimes = .relatime },
    "strictatime": .setting { $0.volume.accessTimes = .strict },
    "noatime": .setting {
      $0.volume.accessTimes = .noatime
      $0.library.append("noatime")
    },
    "diratime": .setting { $0.volume.directoryAccessTimes = true },
    "nodiratime": .setting { $0.volume.directoryAccessTimes = false },

    "commit": .settingWithValue { options, value in
      guard let seconds = UInt32(value), (1...86400).contains(seconds) else { return false }
      options.volume.commitInterval = Double(seconds)
      return true
    },
    "space_cache": .settingWithValue(orElse: "v1") { options, value in
      options.volume.spaceCache = value == "v2" ? .v2 : .v1
      return value == "v1" || value == "v2"
    },
    "nospace_cache": .setting { $0.volume.spaceCache = .none },
    "clear_cache": .setting { $0.volume.clearCache = true },
    "discard": .settingWithValue(orElse: "sync") { options, value in
      options.volume.discards = true
      return value == "sync" || value == "async"
    },
    "compress": compression(isForced: false),
    "compress-force": compression(isForced: true),
    "nodiscard": .setting { $0.volume.discards = false },
    "skip_balance": .setting { $0.volume.skipBalance = true },
    "cache": .settingWithValue { options, value in
      guard let size = ByteSize(argument: value), size.bytes >= 16 << 20, size.bytes <= 1 << 46
      else { return false }
      options.volume.cacheBytes = size.bytes
      return true
    },
    "nologreplay": .setting { $0.volume.noLogReplay = true },
    "norecovery": .setting { $0.volume.noLogReplay = true },
    "rescue": .settingWithValue { options, value in
      options.volume.noLogReplay = true
      return value == "nologreplay"
    },
    "subvol": .settingWithValue { options, path in
      options.volume.subvolume = .path(path)
      return !path.isEmpty
    },
    "subvolid": .settingWithValue { options, value in
      // 0 has long meant the top level.
      guard let number = UInt64(value) else { return false }
      let id = number == 0 ? TreeID.topLevel : TreeID(number)
      options.volume.subvolume = .id(id)
      return id.isSubvolume
    },

    "fsname": .settingWithValue { options, value in
      options.source = value
      return !value.isEmpty
    },
    "subtype": .settingWithValue { options, value in
      options.subtype = value
      return !value.isEmpty
    },
    "max_read": .settingWithValue { options, value in
      guard let size = UInt32(value) else { return false }
      options.maximumRead = size
      return true
    },
    "max_threads": .settingWithValue { options, value in
      guard let count = UInt32(value), (1...1024).contains(count) else { return false }
      options.threads = count
      return true
    },
    "io_uring": .settingWithValue(orElse: "on") { options, value in
      guard let choice = RingChoice(rawValue: value) else { return false }
      options.ring = choice
      return true
    },
    "clone_fd": .setting { $0.cloneDescriptors = true },
    "flush": .setting { $0.reportsAtClose = true },
    "debug": .setting { $0.debug = true },
  ]

  private static let refused: [String: Meaning] = [
    "remount": .refused(
      "a mounted image's options cannot be changed; unmount it and mount it again"),
    "noacl": .refused("access control lists are always kept; leave the option out"),
    "mand": .refused("mandatory locks are not supported"),
    "blkdev": .refused("leave it out: block devices are mounted as they are"),
  ]
}
