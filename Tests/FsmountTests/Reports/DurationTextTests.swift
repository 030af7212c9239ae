import Testing

@testable import fsmount

@Suite(.timeLimit(.minutes(1))) struct DurationTextTests {
  @Test(arguments: [
    (0, "0 ns"), (999, "999 ns"), (1000, "1.00 µs"), (12_345, "12.3 µs"), (999_499, "999 µs"),
    (1_000_000, "1.00 ms"), (250_000_000, "250 ms"), (1_500_000_000, "1.50 s"),
    (UInt64.max, "18446744074 s"),
  ])
  func nanoseconds(_ value: UInt64, _ text: String) {
    #expect(DurationText.text(nanoseconds: value) == text)
  }

  @Test(arguments: [
    (0.0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3661, "1 h 1 min"), (90_000, "1 d 1 h"),
    (-1, "?"), (.infinity, "?"), (.nan, "?"),
  ])
  func seconds(_ value: Double, _ text: String) {
    #expect(DurationText.text(seconds: value) == text)
  }

  @Test(arguments: [
    (1.005, 1, "1.0"), (0.05, 2, "0.05"), (-0.001, 2, "0.00"), (-1.25, 1, "-1.3"),
    (99.996, 2, "100.00"),
    (3, 0, "3"), (.nan, 2, "?"), (1e300, 2, "?"),
  ])
  func fixed(_ value: Double, _ digits: Int, _ text: String) {
    #expect(DurationText.fixed(value, digits) == text)
  }
}
