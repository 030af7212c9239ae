import ArgumentParser
import Testing

@testable import fsmount

/// Arguments that the parser would take for others than they are.
@Suite(.timeLimit(.minutes(1))) struct ArgumentsTests {
  private func refusal(_ arguments: [String]) -> String {
    do {
      return "accepted: \(try Main.command(arguments))"
    } catch let failure as CommandFailure {
      return "\(failure.status): \(failure)"
    } catch {
      return "usage: \(Fsmount.fullMessage(for: error))"
    }
  }

  /// An h among several letters is no call for help.
  @Test func bundlesWithAnH() throws {
    for arguments in [
      ["subvolume", "create", "-dash"], ["subvolume", "delete", "-ch", "x"],
      ["mount", "-ohash", "i", "m"], ["-fh", "i", "m"], ["usage", "-bh", "x"],
    ] {
      let text = refusal(arguments)
      #expect(text.hasPrefix("usage: there is no option"), "\(text)")
    }
    for arguments in [["-h"], ["subvolume", "create", "-h"], ["subvolume", "--help"]] {
      #expect(refusal(arguments).hasPrefix("accepted: HelpCommand"))
    }
    for arguments in [
      ["subvolume", "create", "./-dash"], ["subvolume", "create", "--", "-dash"],
      ["balance", "start", "-dusage=5", "-mdevid=1", "/mnt"],
      ["subvolume", "list", "-tG+1", "/mnt"],
      ["subvolume", "list", "--sort", "-path", "/mnt"],
      ["mount", "-fr", "i", "m", "-o", "subvol=-ho"], ["resize", "-1T", "/mnt"],
    ] {
      let text = refusal(arguments)
      #expect(text.hasPrefix("accepted") && !text.contains("HelpCommand"), "\(text)")
    }
  }

  @Test func nothingToSortBy() throws {
    for sort in [["--sort="], ["--sort", ""]] {
      let text = refusal(["subvolume", "list"] + sort + ["/mnt"])
      #expect(text.contains("nothing to sort by"), "\(text)")
    }
  }

  /// Words that are commands of a command.
  @Test func commandsOfOthers() throws {
    let text = refusal(["snapshot", "s", "t"])
    #expect(text.hasPrefix("usage:") && text.contains("'fsmount subvolume snapshot'"), "\(text)")
    let cancel = refusal(["cancel", "/mnt"])
    #expect(cancel.contains("'fsmount balance cancel'"), "\(cancel)")
    #expect(refusal(["mout", "i", "m"]).contains("--help"))
  }
}
