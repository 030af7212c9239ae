import ArgumentParser
import CFuse
import FSCore
import Glibc
import Logging

struct MountCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mount",
    abstract: "Mount an image on a directory.",
    discussion: """
      Goes to the background as soon as the mount serves requests, and the exit status says \
      whether it does. 'fsmount unmount' ends it well; so do umount, fusermount3 -u, and SIGTERM \
      or SIGINT to the process.

      Options for -o:
        ro, rw          read-only; or read-write, which is the default
        commit=SECONDS  longest time that a change is in memory only (default 5)
        cache=SIZE      bound of the memory that grows with the work (default 256M)
        space_cache=v1, space_cache=v2, nospace_cache
                        keep free space in caches, in a free space tree, or not
                        at all (default: as the image does)
        clear_cache     believe nothing of that record, and write it anew
        compress=zlib[:1-9]|lzo|zstd[:1-15]|no
                        compress what is written (zlib if no algorithm is named,
                        level 3 if no level is, or 0; zstd:-15 to zstd:-1 are faster).
                        Files that do not become shorter are left alone. Also
                        for single files and directories, without this option:
                        chattr +c, or their btrfs.compression attribute
        compress-force=…
                        the same, and try with every file all the time
        flush           close(2) of a file that was open for writing says when its
                        data could not be written, as fsync(2) does in any case;
                        a request more for each close
        discard         free ranges of the image file become holes at each commit
        skip_balance    leave a balance paused that is not finished
        relatime, noatime, strictatime, nodiratime
                        when reading updates access times (default relatime)
        subvol=PATH, subvolid=ID
                        what to mount (default: the image's default subvolume);
                        of several of these the last one counts
        nologreplay     mount an image with a log tree as its last commit left
                        it, read-only
        io_uring=auto|on|off
                        take requests over io_uring: where it is to be had, else
                        not mount at all, or never (default off; root allows it
                        by the kernel's parameter fuse.enable_uring)
        allow_other     let other users in, with permissions checked
        default_permissions
                        have the kernel check permissions and access control
                        lists
        allow_root, auto_unmount, fsname=NAME, subtype=NAME, clone_fd, debug,
        max_read=N, max_write=N, max_readahead=N, max_threads=N,
        max_background=N, congestion_threshold=N, readdirplus=no|yes|auto,
        writeback_cache
                        as libfuse has them
        suid, dev, nosuid, nodev, noexec, sync, dirsync and what else mount(8)
        passes
      The manual page, fsmount(8), has those that are seldom of use, too.

      The kernel does not tell a FUSE program of sync(2) and syncfs(2): 'fsmount sync' commits at \
      once, as fsync(2) of a file with changes does.
      """)

  @Argument(help: "A regular file or block device with a btrfs file system.")
  var image: String

  @Argument(help: "The directory to mount it on.")
  var mountPoint: String

  @Option(
    name: .customShort("o"),
    help: ArgumentHelp(
      "Mount options, separated by commas. May be given several times.", valueName: "options"))
  var options: [String] = []

  @Flag(name: .short, help: "Stay in the foreground; messages go to standard error.")
  var foreground = false

  @Flag(name: .short, help: "Show every request: implies -f.")
  var debug = false

  @Flag(name: .short, help: "The same as -o ro.")
  var readOnly = false

  // What mount(8) passes to its helpers, and what libfuse's programs take.

  @Flag(name: .customShort("w"), help: .hidden) var readWrite = false
  @Flag(name: .customShort("n"), help: .hidden) var noTable = false
  @Flag(name: .customShort("s"), help: .hidden) var sloppy = false
  @Flag(name: .customShort("v"), help: .hidden) var verbose = false
  @Option(name: .customShort("t"), help: .hidden) var type: String?

  func run() throws {
    var lists = options
    if readOnly { lists.append("ro") }
    if readWrite { lists.append("rw") }
    if debug { lists.append("debug") }
    let options = try MountOptions(lists)

    guard let image = AbsolutePath.resolve(image) else {
      let code = errno
      let hint = code == ENOENT ? "; 'fsmount mkfs' makes an image" : ""
      throw CommandFailure("\(image): \(String(cString: strerror(code)))\(hint)")
    }
    try MountPoint.checkFuse()
    try options.requireAllowed()
    let mountPoint = try MountPoint.check(mountPoint)

    let staysHere = foreground || options.debug
    let background = staysHere ? Background.stay() : try Background.fork()
    cfuse_bound_malloc()
    let mount = Mount(
      image: image, mountPoint: mountPoint, options: options, background: background)
    defer { MountLog.flush() }
    let status = try mount.run()
    MountLog.flush()
    Glibc.exit(status)
  }
}
