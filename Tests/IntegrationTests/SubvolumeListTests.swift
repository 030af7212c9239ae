import FSCore
import Glibc
import TestSupport
import Testing

extension MountTests {
  /// `fsmount subvolume list` and `show` beside those of btrfs: the same bytes of the same image.
  @Suite(.timeLimit(.minutes(5))) struct SubvolumeListTests {
    /// What is given to both, before the path.
    private static let options: [[String]] = [
      [], ["-p"], ["-a"], ["-c"], ["-g"], ["-u"], ["-q"], ["-R"], ["-t"], ["-s"], ["-r"], ["-d"],
      ["-o"], ["-pcguqR"], ["-apcguqR"], ["-tapcguqR"], ["-t", "-s"], ["-s", "-c"],
      ["-r", "-s", "-p"],
      ["-o", "-a"], ["-o", "-r"], ["-o", "-t"], ["-a", "-r"], ["-ts", "-pquR"],
      ["--sort=gen"], ["--sort=-gen"], ["--sort=+ogen,-path"], ["--sort=-rootid"], ["--sort=path"],
      ["-a", "--sort=path"], ["--sort", "-path,gen"], ["--sort=gen,,rootid"],
      ["-G", "+9"], ["-G", "-9"], ["-G", "8"], ["-G+9"], ["-G-9"], ["-G8"], ["-C", "+9"],
      ["-C", "-9"], ["-C8"], ["-G", "-11", "-C", "+8"], ["-t", "-G", "+99999"],
      ["-tG+1"], ["-pC-9"], ["-tcG", "+9"], ["--sort=,"],
      ["-d", "-a"], ["-d", "-o"], ["-d", "-s"], ["-d", "-r"], ["-d", "-t"], ["-dpuqRc"],
      ["-d", "--sort=-gen,path"], ["-d", "-G", "+1"],
    ]

    /// Nested ones, snapshots, a received one, one whose source is gone, directories between, odd names;
    /// at last some that are deleted, and not yet taken apart.
    private static let script = """
      set -e
      cd "$1"
      b="btrfs -q subvolume"
      $b create a; $b create a/n; mkdir -p d/e; $b create d/e/deep
      $b snapshot a s; $b snapshot -r a r; sync
      $b create a/n/x; $b snapshot -r a/n/x a/snapx; $b snapshot s s2
      $b create gone; sync; $b snapshot gone orphan; $b delete gone
      mkdir -p a/dd 'a/with space'; $b create a/dd/y; $b create 'a/with space/é z'
      $b create $'odd\\xff'; $b create $'odd\\xff/in'; $b snapshot a/n/x $'odd\\xff/snap'
      mkdir recv; btrfs -q send r 2>/dev/null | btrfs -q receive recv
      $b create ab; sync; $b create ab/n; echo more > a/n/file; sync
      $b snapshot a last1; $b snapshot -r s last2; $b create last3; sync
      $b delete last1 last2 last3; sync
      """

    /// An image as it was while Linux had it mounted.
    private func image() throws -> Scratch {
      let scratch = try Scratch()
      let first = scratch.directory.file("first")
      try FsmountProgram.run("mkfs", "--force", "--size", "256M", first).orThrow()
      // The cleaner comes with commits that nobody asks for.
      let mounted = try LoopMount(
        first, at: scratch.mountPoint, options: "commit=300,noatime,space_cache=v1")
      let made = try Shell.run("bash", "-c", Self.script, "script", scratch.mountPoint, timeout: 60)
      guard made.succeeded else { throw TestFailure(made.summary) }
      try Shell.run("cp", "--sparse=always", first, scratch.image).orThrow()
      try mounted.unmount()
      unlink(first)
      return scratch
    }

    private func btrfs(_ arguments: [String]) throws -> String {
      try Shell.run(["btrfs", "subvolume"] + arguments).orThrow().output
    }

    private func fsmount(_ arguments: [String]) throws -> String {
      let result = try FsmountProgram.run(["subvolume"] + arguments)
      #expect(result.errors.isEmpty, "\(result.summary)")
      return try result.orThrow().output
    }

    private static let listedFrom = [".", "a", "a/n", "d"]

    /// The answers to all questions, by what is asked.
    private func answers(
      _ root: String, _ ask: ([String]) throws -> String
    ) throws -> [String: String] {
      var answers: [String: String] = [:]
      for place in Self.listedFrom {
        for options in Self.options {
          let words = ["list"] + options
          answers["\(words) \(place)"] = try ask(words + ["\(root)/\(place)"])
        }
      }
      let listed = try ask(["list", "-u", root]).split(separator: "\n")
      #expect(listed.count > 14)
      for line in listed {
        let words = line.split(separator: " ").map(String.init)
        answers["show -r \(words[1])"] = try ask(["show", "-r", words[1], root])
        let uuid = try #require(words.firstIndex(of: "uuid").map { words[$0 + 1] })
        answers["show -u \(uuid)"] = try ask(["show", "--uuid", uuid, root])
      }
      for path in ["", "/", "/a", "/a/n/", "/s", "/r", "/recv/r", "/orphan", "/d/e/deep"] {
        answers["show \(path)"] = try ask(["show", root + path])
      }
      answers["get-default"] = try ask(["get-default", root])
      return answers
    }

    private func expectSame(
      _ ours: [String: String], _ theirs: [String: String],
      location: SourceLocation = #_sourceLocation
    ) {
      #expect(ours.count == theirs.count, sourceLocation: location)
      for (question, answer) in theirs {
        #expect(ours[question] == answer, "\(question)", sourceLocation: location)
      }
    }

    /// Of what a program prints of names that are not UTF-8.
    private func sums(of program: String, _ root: String, _ id: String) throws -> String {
      let command = """
        '\(program)' subvolume list -a '\(root)' | md5sum
        '\(program)' subvolume list -t '\(root)' | md5sum
        '\(program)' subvolume show -r \(id) '\(root)' | md5sum
        """
      return try Shell.run("bash", "-c", command).orThrow().output
    }

    @Test(.needsRoot) func asBtrfsDoes() throws {
      let scratch = try image()
      let root = scratch.mountPoint
      let kernel = try scratch.mountByKernel("ro,noatime")
      let theirs = try answers(root) { try btrfs($0) }
      let id = try Shell.run("bash", "-c", "btrfs inspect-internal rootid '\(root)'/odd*").orThrow()
        .output.split(separator: "\n").joined()
      let bytes = try sums(of: "btrfs", root, id)
      try kernel.unmount()
      // That they tell something apart.
      #expect(try #require(theirs["[\"list\", \"-d\"] ."]).split(separator: "\n").count >= 3)
      #expect(Set(theirs.values).count > 90)

      // The image itself, which stands for its top level.
      for options in Self.options {
        let words = ["list"] + options
        #expect(try fsmount(words + [scratch.image]) == theirs["\(words) ."], "\(words)")
      }
      for (question, answer) in theirs where question.hasPrefix("show -") {
        let words = question.split(separator: " ").map(String.init)
        #expect(try fsmount(words + [scratch.image]) == answer, "\(words)")
      }
      #expect(try fsmount(["show", scratch.image]) == theirs["show /"])
      #expect(try fsmount(["get-default", scratch.image]) == theirs["get-default"])

      let mounted = try scratch.mount("ro")
      defer { try? mounted.unmount() }
      expectSame(try answers(root) { try fsmount($0) }, theirs)
      #expect(try sums(of: FsmountProgram.required(), root, id) == bytes)
    }

    /// What was made, changed and deleted by us, listed by us while it is mounted, and by Linux later.
    @Test(.needsRoot) func afterChanges() throws {
      let scratch = try image()
      let root = scratch.mountPoint
      var mounted = try scratch.mount("noatime")
      defer { try? mounted.unmount() }
      for words in [
        ["create", "\(root)/new", "\(root)/new/below"], ["create", "-p", "\(root)/x/y/z"],
        ["snapshot", "\(root)/a", "\(root)/new/of-a"],
        ["snapshot", "-r", "\(root)/new", root + "/x"],
        ["delete", "-c", "\(root)/s2", "\(root)/ab/n"], ["set-rw", "\(root)/r"],
        ["set-ro", "\(root)/s"], ["set-default", "\(root)/a/n"],
      ] {
        _ = try fsmount(words)
      }
      try check("rename") { rename("\(root)/new/below", "\(root)/d/e/moved") }
      func withoutDeleted(_ answers: [String: String]) -> [String: String] {
        answers.filter { !$0.key.contains("-d") }
      }
      let ours = withoutDeleted(try answers(root) { try fsmount($0) })
      try mounted.unmount()
      mounted = try scratch.mount("noatime,subvolid=5")
      expectSame(withoutDeleted(try answers(root) { try fsmount($0) }), ours)
      try mounted.unmount()
      let kernel = try scratch.mountByKernel("ro,noatime,subvolid=5")
      let theirs = withoutDeleted(try answers(root) { try btrfs($0) })
      try kernel.unmount()
      expectSame(ours, theirs)
      try scratch.expectSound()
    }

    @Test(.needsRoot) func json() throws {
      let scratch = try image()
      for (options, expected) in [
        ([], 17), (["-s"], 6), (["-r"], 3), (["-d"], nil), (["-o"], 9), (["-G", "+999"], 0),
      ] as [([String], Int?)] {
        let words = ["list", "--json"] + options
        let text = try fsmount(words + [scratch.image])
        let listed = text.split(separator: "\n").filter { $0.contains("\"id\" :") }.count
        let lines = try fsmount(["list"] + options + [scratch.image]).split(separator: "\n").count
        #expect(listed == lines && listed == expected ?? listed, "\(words)")
      }
      let text = try fsmount(["list", "--json", scratch.image])
      #expect(text.contains("\"path\" : \"a/n/x\"") && text.contains("\"received_uuid\""))
      #expect(text.contains("\"path_bytes\""))
      let shown = try fsmount(["show", "--json", "-r", "256", scratch.image])
      #expect(shown.contains("\"snapshots\" : [") && shown.contains("\"s\""))
      #expect(try fsmount(["get-default", "--json", scratch.image]).contains("\"id\" : 5"))
    }

    @Test(.needsFuse) func badArguments() throws {
      let scratch = try Scratch()
      try scratch.make("--size", "256M")
      for (arguments, words) in [
        (["list", "-G", "x"], ["'x'", "-G", "+N"]), (["list", "-C", "9x"], ["'9x'", "-C"]),
        (["list", "-G", ""], ["-G"]), (["list", "-G", "99999999999999999999"], ["-G"]),
        (["list", "--sort=size"], ["'size'", "rootid"]),
        (["list", "--sort=gen,-"], ["'-'", "ogen"]),
        (["list", "--sort="], ["--sort", "nothing to sort by"]),
        (["list", "-tG+x"], ["'+x'", "-G", "+N"]),
        (["list", "--sort", "-size"], ["'-size'", "gen"]),
        // The path is taken for the value.
        (["list", "-G"], [scratch.image, "-G", "+N"]), (["list", "-tC"], [scratch.image, "-C"]),
        (["list", "--sort"], [scratch.image, "nothing to sort by"]),
        (["list", "--json", "-t"], ["--json", "-t"]),
        (["show", "-r", "5", "-u", "00000000-0000-0000-0000-000000000001"], ["-r", "-u"]),
        (["show", "-r", "999"], ["999", scratch.image, "list"]),
        (["show", "-u", "00000000-0000-0000-0000-000000000001"], ["000001", "list"]),
      ] {
        let result = try FsmountProgram.run(["subvolume"] + arguments + [scratch.image])
        expectRefusal(result)
        for word in words {
          #expect(result.errors.contains(word), "\(arguments): \(result.summary)")
        }
      }
    }
  }
}
