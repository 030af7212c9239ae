import Glibc
import TestSupport

/// A program in C of many small files.
struct CProject {
  let fileCount: Int
  private static let perDirectory = 20

  private func directory(_ index: Int) -> String { "part\(index / Self.perDirectory)" }
  private func factor(_ index: Int) -> UInt32 { UInt32(truncatingIfNeeded: index &* 2_654_435_761) }

  /// What the program prints.
  var result: UInt32 {
    (0..<fileCount).reduce(1) { $0 &* 31 &+ (UInt32($1) &* factor($1) ^ 0x5bd1) }
  }

  func write(below root: BytePath) throws {
    for part in 0...((fileCount - 1) / Self.perDirectory) {
      let path = root.appending("part\(part)")
      try check("mkdir \(path)") { path.withCPath { mkdir($0, 0o755) } }
    }
    func write(_ name: String, _ text: String) throws {
      try writeFile(root.appending(name), Array(text.utf8))
    }
    let all = 0..<fileCount
    try write("Makefile", makefile)
    try write(
      "all.h", "#include <stdint.h>\n" + all.map { "uint32_t f\($0)(uint32_t);\n" }.joined())
    for index in all {
      try write(
        "\(directory(index))/f\(index).c",
        """
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include "../all.h"
        #include "f\(index).h"

        uint32_t f\(index)(uint32_t x) { return x * FACTOR ^ 0x5bd1u; }

        """)
      try write("\(directory(index))/f\(index).h", "#define FACTOR \(factor(index))u\n")
    }
    try write(
      "main.c",
      """
      #include <stdio.h>
      #include "all.h"

      int main(void) {
        uint32_t sum = 1;
      \(all.map { "  sum = sum * 31 + f\($0)(\($0));\n" }.joined())
        printf("%u\\n", sum);
        return 0;
      }

      """)
  }

  private var makefile: String {
    let objects = (0..<fileCount).map { "\(directory($0))/f\($0).o" } + ["main.o"]
    return """
      OBJECTS := \(objects.joined(separator: " "))
      program: $(OBJECTS)
      \tgcc -o $@ $(OBJECTS)
      %.o: %.c all.h
      \tgcc -O1 -c -o $@ $<

      """
  }
}

final class BuildApplication: Application {
  let key = "build"
  let programs = ["make", "gcc", "tar"]
  var name: String { "make -j2 with gcc, \(max(material.fileCount / 100, 20)) files" }
  private let material: Material

  init(_ material: Material) { self.material = material }

  func prepare(_ place: Workplace) throws {
    _ = try material.project()
    try Shell.output("rm", "-rf", place.path("project"))
    try Shell.output("tar", "-C", place.directory, "-xf", material.file("project.tar"))
    try place.sync()
    try place.remount()
  }

  func run(_ place: Workplace) throws -> Double {
    try place.secondsUntilDurable {
      try Shell.output("make", "-s", "-j2", "-C", place.path("project"))
    }
  }

  func verify(_ place: Workplace) throws {
    try place.remount()
    let said = try Shell.output(place.path("project/program")).filter { !$0.isWhitespace }
    let wanted = try material.project().result
    guard said == "\(wanted)" else { throw TestFailure("the program says \(said), not \(wanted)") }
  }
}
