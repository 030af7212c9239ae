import Glibc
import TestSupport
import Testing

extension MountTests {
  /// What `fsmount subvolume` leaves on disk, beside what btrfs leaves after the same steps.
  @Suite(.needsRoot, .timeLimit(.minutes(3))) struct SubvolumeTwinTests {
    /// A subvolume, a read-only snapshot of it, and one that was received.
    private static let beginning = """
      set -e; cd "$1"
      btrfs -q subvolume create src; seq 1 20000 > src/f
      btrfs -q subvolume snapshot -r src s1
      mkdir recv; btrfs -q send s1 2>/dev/null | btrfs -q receive recv
      """

    /// `$1`: the mount; `$2`: makes a received subvolume writable; the others are the program.
    private static let steps = """
      set -e; cd "$1"; disown=$2; shift 2
      "$@" create new; "$@" create new/nested
      "$@" snapshot recv/s1 rw; "$@" snapshot -r recv/s1 ro; "$@" snapshot ro rw2
      "$@" snapshot src src2; "$@" snapshot -r src2 src2ro
      "$@" snapshot new new2; "$@" delete src2; "$@" set-default new
      if [ $disown = btrfs ]; then
        btrfs property set -f ro ro false; btrfs property set src2ro ro false
        btrfs property set rw2 ro true
      else
        "$@" set-rw --force ro; "$@" set-rw src2ro; "$@" set-ro rw2
      fi
      """

    private func script(_ text: String, _ arguments: [String]) throws {
      try Shell.run(["bash", "-c", text, "script"] + arguments, timeout: 60).orThrow()
    }

    @Test func rootItemsAndUUIDs() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let twin = scratch.directory.file("twin")
      let options = "noatime,space_cache=v1"
      let first = try LoopMount(scratch.image, at: scratch.mountPoint, options: options)
      defer { try? first.unmount() }
      try script(Self.beginning, [scratch.mountPoint])
      try first.unmount()
      try Shell.run("cp", "--sparse=always", scratch.image, twin).orThrow()

      let kernel = try LoopMount(twin, at: scratch.mountPoint, options: options)
      defer { try? kernel.unmount() }
      try script(Self.steps, [scratch.mountPoint, "btrfs", "btrfs", "subvolume"])
      try Shell.run("btrfs", "subvolume", "sync", scratch.mountPoint, timeout: 60).orThrow()
      try kernel.unmount()

      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let program = try FsmountProgram.required()
      try script(Self.steps, [scratch.mountPoint, "fsmount", program, "subvolume"])
      try mounted.unmount()
      // Both have taken the deleted one apart.
      try ImageCheck.expectSound(twin)
      try scratch.expectSound()

      let (theirs, ours) = (try Items(of: twin), try Items(of: scratch.image))
      #expect(theirs.texts.count > 20 && theirs.uuids.count > 10)
      for key in Set(theirs.texts.keys).union(ours.texts.keys).sorted() {
        #expect(theirs.texts[key] == ours.texts[key], "\(key)")
      }
      #expect(theirs.uuids == ours.uuids)
    }

    /// New files get the group of such a directory; subvolumes do not.
    @Test func aDirectoryThatHandsItsGroupOn() throws {
      let steps = """
        set -e; cd "$1"; shift; mkdir d; chgrp 12 d; chmod 2775 d
        "$@" create d/sub >&2; "$@" snapshot d/sub d/snapshot >&2
        mkdir d/directory; touch d/sub/file; stat -c '%n %a %u %g' d/* d/sub/file
        """
      func shown(_ program: [String]) throws -> String {
        try Shell.run(["bash", "-c", steps, "script"] + program).orThrow().output
      }
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let ours = try shown([scratch.mountPoint, try FsmountProgram.required(), "subvolume"])
      try mounted.unmount()

      try scratch.make("--size", "256M")
      let kernel = try scratch.mountByKernel()
      defer { try? kernel.unmount() }
      #expect(try shown([scratch.mountPoint, "btrfs", "subvolume"]) == ours)
    }

    /// Linux sends snapshots that the mount has made, one as the difference to the other.
    @Test func linuxSendsOurSnapshots() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      let mounted = try scratch.mount()
      defer { try? mounted.unmount() }
      let program = try FsmountProgram.required()
      try script(
        """
        set -e; cd "$1"; f=$2
        $f subvolume create src
        mkdir src/d; seq 1 30000 > src/d/long; echo short > src/short; cp /bin/ls src/ls
        ln -s d/long src/link; setfattr -n user.a -v 1 src/short
        $f subvolume snapshot -r src s1
        mv src/d/long src/moved; echo more >> src/short; truncate -s 3000 src/ls; rm src/link
        cp -r /etc/alternatives src/new; setfattr -n user.a -v 2 src/short
        $f subvolume snapshot -r src s2
        """, [scratch.mountPoint, program])
      try mounted.unmount()

      let kernel = try LoopMount(
        scratch.image, at: scratch.mountPoint, options: "noatime,space_cache=v1")
      defer { try? kernel.unmount() }
      try script(
        """
        set -e; set -o pipefail; cd "$1"; mkdir recv
        btrfs -q send s1 2>/dev/null | btrfs -q receive recv
        btrfs -q send -p s1 s2 2>/dev/null | btrfs -q receive recv
        for s in s1 s2; do diff -r --no-dereference $s recv/$s; done
        [ "$(getfattr --only-values -n user.a recv/s2/short)" = 2 ]
        """, [scratch.mountPoint])
      try kernel.expectCleanLog()
      try kernel.unmount()
      try scratch.expectSound()
    }

    /// Items about subvolumes, with names for UUIDs, and only whether numbers of transactions and times
    /// are there at all.
    private struct Items {
      /// By key, without the offset of a root item's: there the two differ (ARCHITECTURE.md).
      var texts: [String: [String]] = [:]
      var uuids: Set<String> = []

      init(of image: String) throws {
        var names: [(uuid: String, name: String)] = []
        var key: [String]?
        for line in try Self.dump("1", image) {
          if let next = Self.key(line) { key = next }
          guard let key, key[1].hasPrefix("ROOT_") else { continue }
          let name = "\(key[0]) \(key[1])" + (key[1] == "ROOT_ITEM" ? "" : " \(key[2])")
          if Self.key(line) != nil {
            texts[name] = []
            continue
          }
          let words = line.split { $0 == " " || $0 == "\t" }.map(String.init)
          if words.count == 2, words[0] == "uuid" { names.append((words[1], "UUID of \(key[0])")) }
          texts[name]?.append(Self.plain(words))
        }
        for (key, lines) in texts {
          texts[key] = lines.map { line in
            let words = line.split(separator: " ").map(String.init)
            guard words.count == 2, words[0].hasSuffix("uuid"), !words[1].hasPrefix("00000000-")
            else { return line }
            let name = names.first { $0.uuid == words[1] }?.name
            return "\(words[0]) \(name ?? "of one that is gone")"
          }
        }

        for line in try Self.dump("9", image) {
          if let next = Self.key(line) { key = next }
          if let key, let number = line.split(separator: " ").last, line.contains("subvol_id ") {
            uuids.insert("\(key[1]) of \(number)")
          }
        }
      }

      private static func dump(_ tree: String, _ image: String) throws -> [Substring] {
        try Shell.run("btrfs", "inspect-internal", "dump-tree", "-t", tree, image).orThrow()
          .output.split(whereSeparator: { $0.isNewline })
      }

      /// "item 3 key (257 ROOT_ITEM 9) itemoff …"
      private static func key(_ line: Substring) -> [String]? {
        guard line.contains("item "), let start = line.firstIndex(of: "("),
          let end = line.firstIndex(of: ")"), line.contains(" key (")
        else { return nil }
        let words = line[line.index(after: start)..<end].split(separator: " ").map(String.init)
        return words.count == 3 ? words : nil
      }

      /// Numbers of what may differ as N; a time's date in brackets is left out.
      private static func plain(_ words: [String]) -> String {
        let varying: Set = [
          "generation", "bytenr", "bytes_used", "last_snapshot", "generation_v2", "ctransid",
          "otransid", "stransid", "rtransid", "ctime", "otime", "stime", "rtime",
        ]
        var result: [String] = []
        for (index, word) in words.enumerated() {
          if index > 1, ["ctime", "otime", "stime", "rtime"].contains(words[0]) { break }
          let isVarying = index > 0 && varying.contains(words[index - 1])
          result.append(isVarying && word != "0" && word != "0.0" ? "N" : word)
        }
        return result.joined(separator: " ")
      }
    }
  }
}
