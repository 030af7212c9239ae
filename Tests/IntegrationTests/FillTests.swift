import TestSupport
import Testing

extension MountTests {
  /// Images that are filled to the last byte and emptied, over and over; `make fill` does more.
  @Suite(.timeLimit(.minutes(10))) struct FillTests {
    struct Case: Sendable, CustomTestStringConvertible {
      var name: String
      var size: String
      var largest: Int
      var seed: UInt64
      var makeOptions: [String] = []
      var mountOptions = ""
      var rounds = 3
      var testDescription: String { name }
    }

    @Test(
      .needsFuse, .timeLimit(.minutes(5)),
      arguments: [
        Case(name: "1 GiB", size: "1G", largest: 5 << 20, seed: 21),
        Case(
          name: "256 MiB, two copies of data, v2", size: "256M", largest: 1 << 20, seed: 22,
          makeOptions: ["--data", "dup", "--space-cache", "v2"]),
        Case(
          name: "128 MiB mixed", size: "128M", largest: 200_000, seed: 23, makeOptions: ["--mixed"]),
        Case(
          name: "128 MiB, small files, little memory", size: "128M", largest: 20_000, seed: 24,
          mountOptions: "cache=16M", rounds: 2),
      ])
    func nothingAcceptedIsLost(_ test: Case) throws {
      var options = FillOnImage.Options()
      options.size = test.size
      options.makeOptions = test.makeOptions
      options.mountOptions = test.mountOptions
      options.work.largest = test.largest
      options.work.seed = TestSeed.of(test.seed)
      options.work.rounds = test.rounds
      options.lifetime = 200
      try FillOnImage(options, report: { _ in }).run()
    }
  }
}
