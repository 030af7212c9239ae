import TestSupport
import Testing

extension MountTests {
  /// The kernel and fsmount, operation by operation; `exerciser differential` for any number.
  @Suite(.timeLimit(.minutes(5))) struct DifferentialTests {
    @Test(.needsRoot, .timeLimit(.minutes(3)), arguments: ImageVariant.all)
    func kernelImage(_ variant: ImageVariant) throws {
      var options = DifferentialOptions(variant: variant, seed: TestSeed.of(11))
      options.rounds = 3
      options.operations = 500
      try DifferentialRun(options).run()
    }

    @Test(
      .needsRoot, .timeLimit(.minutes(3)),
      arguments: ImageVariant.withoutSubvolumes.filter { $0.withoutFeatures.isEmpty })
    func ourImage(_ variant: ImageVariant) throws {
      var options = DifferentialOptions(variant: variant, seed: TestSeed.of(12))
      options.rounds = 2
      options.operations = 400
      options.usesFsmountImage = true
      try DifferentialRun(options).run()
    }

    /// The harness finds nothing between two kernels, so what it finds elsewhere is real.
    @Test(.needsRoot, .timeLimit(.minutes(2)))
    func kernelAgainstItself() throws {
      var options = DifferentialOptions(variant: ImageVariant.all[0], seed: TestSeed.of(13))
      options.peer = .kernel
      options.rounds = 2
      options.exactHoles = true
      try DifferentialRun(options).run()
    }
  }
}

extension ImageVariant {
  /// Those that change subvolumes begin with an image that Linux has received a subvolume into.
  fileprivate static let withoutSubvolumes = all.filter { !$0.changesSubvolumes }
}
