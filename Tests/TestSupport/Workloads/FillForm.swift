/// A kind of image that is filled: `exerciser fill --form`.
package struct FillForm: Sendable, CustomStringConvertible {
  package let name: String
  /// In MiB.
  package let mebibytes: Int
  /// The largest file, in bytes.
  package let largest: Int
  package var isMixed = false
  package var hasDupData = false
  package var hasDupMetadata = true

  package var description: String { name }
  package var size: String { "\(mebibytes)M" }

  package var makeOptions: [String] {
    let data = ["--data", hasDupData ? "dup" : "single"]
    return isMixed
      ? ["--mixed"] + data : data + ["--metadata", hasDupMetadata ? "dup" : "single"]
  }

  /// How much less or more than announced may be written: 2 %, or a metadata chunk, which is a tenth of
  /// a small volume, and 8 MiB at least.
  package func tolerance(available: Int) -> Int {
    let chunk = min(max(mebibytes / 10, 8), 256) << 20
    return max(available / 50, isMixed ? 0 : chunk)
  }

  package static let all: [FillForm] = [
    (128, 200_000), (256, 1 << 20), (1024, 5 << 20), (4096, 20 << 20),
  ].flatMap { (mebibytes: Int, largest: Int) -> [FillForm] in
    let name = mebibytes < 1024 ? "\(mebibytes)M" : "\(mebibytes >> 10)G"
    var forms = [
      FillForm(name: name, mebibytes: mebibytes, largest: largest),
      FillForm(
        name: "\(name)-single", mebibytes: mebibytes, largest: largest, hasDupMetadata: false),
      FillForm(name: "\(name)-dup", mebibytes: mebibytes, largest: largest, hasDupData: true),
    ]
    // Larger images are not made like that.
    if mebibytes < 1024 {
      forms += [
        FillForm(name: "\(name)-mixed", mebibytes: mebibytes, largest: largest, isMixed: true),
        FillForm(
          name: "\(name)-mixed-dup", mebibytes: mebibytes, largest: largest, isMixed: true,
          hasDupData: true),
      ]
    }
    return forms
  }

  package static func named(_ name: String) -> FillForm? { all.first { $0.name == name } }
}
