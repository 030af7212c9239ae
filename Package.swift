// swift-tools-version: 6.2

import PackageDescription

/// Settings of every Swift target: a warning is an error, and an import reaches
/// only the file that names it.
let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

let package = Package(
  name: "fsmount",
  products: [
    // Preloaded into the program by tests.
    .library(name: "DaemonFaults", type: .dynamic, targets: ["DaemonFaults"])
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
  ],
  targets: [
    // The C libraries for checksums and compression, behind plain functions.
    .target(
      name: "CCodecs",
      linkerSettings: [
        .linkedLibrary("isal"), .linkedLibrary("xxhash"), .linkedLibrary("sodium"),
        .linkedLibrary("deflate"), .linkedLibrary("z"), .linkedLibrary("lzo2"),
        .linkedLibrary("zstd"),
      ]),

    // libfuse3's low-level API, in the form that Swift can import.
    .target(
      name: "CFuse",
      linkerSettings: [.linkedLibrary("fuse3")]),

    .target(name: "FreeSpace", swiftSettings: strict),

    .target(
      name: "FSCore",
      dependencies: [
        "CCodecs", "FreeSpace",
        .product(name: "DequeModule", package: "swift-collections"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: strict),

    .executableTarget(
      name: "fsmount",
      dependencies: [
        "CFuse", "FSCore",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: strict),

    // Workloads that drive any mounted directory: our mounts and the kernel's alike.
    .target(
      name: "TestSupport",
      path: "Tests/TestSupport",
      swiftSettings: strict),

    // The device of the tests on which things go wrong.
    .target(
      name: "SimulatedDevices", dependencies: ["FSCore", "TestSupport"],
      path: "Tests/SimulatedDevice", swiftSettings: strict),

    .target(name: "DaemonFaults", path: "Tests/DaemonFaults"),

    .executableTarget(
      name: "exerciser",
      dependencies: [
        "TestSupport", .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Tests/Exerciser",
      swiftSettings: strict),

    // Answers requests and does nothing else: what no server behind the protocol can be faster than.
    .executableTarget(name: "emptyserver", dependencies: ["CFuse"], path: "Tests/EmptyServer"),

    // Measures mounts, applications on them, the core alone, and one build against another.
    .executableTarget(
      name: "benchmarks",
      dependencies: [
        "TestSupport", "FSCore", "FreeSpace", "CCodecs",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ],
      path: "Tests/Benchmarks",
      swiftSettings: strict),

    .testTarget(
      name: "FreeSpaceTests", dependencies: ["FreeSpace", "CCodecs", "TestSupport"],
      swiftSettings: strict),
    .testTarget(
      name: "FSCoreTests",
      dependencies: [
        "FSCore", "FreeSpace", "SimulatedDevices", "TestSupport",
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: strict),
    .testTarget(
      name: "FsmountTests",
      dependencies: [
        "fsmount", "CFuse", "FSCore", "SimulatedDevices",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: strict),
    .testTarget(
      name: "BenchmarksTests", dependencies: ["benchmarks", "TestSupport"],
      swiftSettings: strict),
    .testTarget(
      name: "IntegrationTests", dependencies: ["FSCore", "CCodecs", "TestSupport"],
      exclude: ["Fixtures"],
      swiftSettings: strict),
  ]
)
