import TestSupport
import Testing

extension MountTests {
  /// Images that are filled to the last byte and emptied, over and over, and statvfs(3) is right about
  /// what is available; `make fill` does more.
  @Suite(.timeLimit(.minutes(10))) struct FillTests {
    struct Case: Sendable, CustomTestStringConvertible {
      var name: String
      var form: String
      var seed: UInt64
      var largest: Int?
      var makeOptions: [String] = []
      var mountOptions = ""
      var rounds = 3
      var testDescription: String { name }
    }

    @Test(
      .needsFuse, .timeLimit(.minutes(5)),
      arguments: [
        Case(name: "1 GiB", form: "1G", seed: 21),
        Case(
          name: "256 MiB, two copies of data, v2", form: "256M-dup", seed: 22,
          makeOptions: ["--space-cache", "v2"]),
        Case(name: "128 MiB mixed", form: "128M-mixed", seed: 23),
        Case(
          name: "128 MiB, small files, little memory", form: "128M", seed: 24, largest: 20_000,
          mountOptions: "cache=16M", rounds: 2),
      ])
    func nothingAcceptedIsLost(_ test: Case) throws {
      var options = FillOnImage.Options()
      let form = try #require(FillForm.named(test.form))
      options.form = form
      options.makeOptions += test.makeOptions
      options.mountOptions = test.mountOptions
      if let largest = test.largest { options.work.largest = largest }
      options.work.seed = TestSeed.of(test.seed)
      options.work.rounds = test.rounds
      options.lifetime = 200
      try FillOnImage(options, report: { _ in }).run()
    }
  }
}
