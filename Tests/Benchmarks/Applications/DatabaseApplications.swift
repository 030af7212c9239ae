import Glibc
import TestSupport

/// Rows that are inserted one by one, each in a transaction of its own that is durable when it ends.
final class SQLiteApplication: Application {
  enum Journal: String {
    case wal = "WAL"
    case rollback = "DELETE"
  }

  var key: String { journal == .wal ? "sqlite-wal" : "sqlite-rollback" }
  var name: String {
    journal == .wal ? "SQLite inserts, WAL" : "SQLite inserts, rollback journal"
  }
  let unit = "inserts/s"
  let programs = ["sqlite3"]
  private let material: Material
  private let journal: Journal
  private var count: Int { journal == .wal ? 3_000 : 1_000 }

  init(_ material: Material, _ journal: Journal) {
    self.material = material
    self.journal = journal
  }

  private func text(_ index: Int) -> String {
    "row \(index) " + String(repeating: "abcdefghij", count: 1 + index % 9)
  }

  private func script() throws -> String {
    let path = material.file("\(key).sql")
    // WAL is of the file; all else is of the connection.
    var lines = ["PRAGMA synchronous=FULL;"]
    lines += (0..<count).map { "INSERT INTO t(a, b) VALUES(\($0 * 7 % 1009), '\(text($0))');" }
    try writeFile(BytePath(path), Array(lines.joined(separator: "\n").utf8))
    return path
  }

  private func database(_ place: Workplace) -> String { place.path("\(key).db") }

  func prepare(_ place: Workplace) throws {
    for ending in ["", "-wal", "-shm", "-journal"] { unlink(database(place) + ending) }
    try Shell.output(
      "sqlite3", database(place),
      """
      PRAGMA journal_mode=\(journal.rawValue);
      CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER, b TEXT);
      CREATE INDEX i ON t(a);
      """)
    _ = try script()
    try place.sync()
  }

  func run(_ place: Workplace) throws -> Double {
    let script = material.file("\(key).sql")
    let seconds = try place.seconds {
      try Shell.output("sqlite3", "-bail", database(place), ".read \(script)")
    }
    return Double(count) / seconds
  }

  func verify(_ place: Workplace) throws {
    try place.remount()
    let said = try Shell.output(
      "sqlite3", database(place),
      "PRAGMA integrity_check; SELECT count(*), sum(length(b)), count(DISTINCT a) FROM t;")
    let wanted = (0..<count).reduce(0) { $0 + text($1).count }
    guard said == "ok\n\(count)|\(wanted)|\(min(count, 1009))\n" else {
      throw TestFailure("the database has \(said)")
    }
  }
}

/// A cluster of PostgreSQL and its server, as the user of the mount. The server refuses to be root, so for
/// root it runs in a name space of users in which root is another one.
struct Postgres {
  let data: String
  /// For the socket and the log.
  let scratch: String

  private func asUser(_ program: String, _ arguments: [String]) throws -> [String] {
    let command = [try Programs.required(program)] + arguments
    return isRoot
      ? ["unshare", "--user", "--map-user=1000", "--map-group=1000"] + command : command
  }

  private func run(_ program: String, _ arguments: String...) throws {
    try Shell.output(asUser(program, arguments))
  }

  /// Makes the cluster, with pgbench's tables.
  func initialize() throws {
    try run("initdb", "-D", data, "-U", "bench", "-A", "trust", "-k", "-E", "UTF8", "--locale=C")
    try serve { _ = try client("pgbench", "-i", "-q", "-s", "4") }
  }

  /// Runs `body` while the server runs, which has ended well afterwards.
  func serve(_ body: () throws -> Void) throws {
    let log = "\(scratch)/log"
    do {
      try run(
        "pg_ctl", "-D", data, "-w", "-t", "60", "-l", log, "-o",
        "-k \(scratch) -c listen_addresses=", "start")
    } catch {
      throw TestFailure("\(error)\n\(readText(log).suffix(1000))")
    }
    do {
      try body()
    } catch {
      try? run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
      throw error
    }
    try run("pg_ctl", "-D", data, "-w", "-m", "fast", "stop")
  }

  /// The output of a client.
  func client(_ program: String, _ arguments: String...) throws -> String {
    try Shell.output(
      [try Programs.required(program), "-h", scratch, "-U", "bench"] + arguments + ["postgres"])
  }
}

final class PgbenchApplication: Application {
  let key = "pgbench"
  let name = "pgbench, 4 clients"
  let unit = "tps"
  let programs = ["postgres", "initdb", "pg_ctl", "pgbench", "psql", "tar"]
  private let material: Material
  private static let transactions = 500

  init(_ material: Material) { self.material = material }

  private func postgres(_ place: Workplace) -> Postgres {
    Postgres(data: place.path("cluster"), scratch: material.file("socket"))
  }

  func prepare(_ place: Workplace) throws {
    let archive = try material.cluster()
    try Shell.output("rm", "-rf", place.path("cluster"))
    try Shell.output("tar", "-C", place.directory, "-xpf", archive)
    try place.sync()
    try place.remount()
  }

  func run(_ place: Workplace) throws -> Double {
    let postgres = postgres(place)
    var rate: Double?
    try postgres.serve {
      let said = try postgres.client(
        "pgbench", "-n", "-c", "4", "-j", "2", "-t", "\(Self.transactions)")
      // "tps = 812.3 (without initial connection time)"
      let line = said.split(separator: "\n").first { $0.hasPrefix("tps = ") }
      rate = line?.split(separator: " ").dropFirst(2).first.flatMap { Double($0) }
    }
    guard let rate else { throw TestFailure("pgbench says no rate") }
    return rate
  }

  /// Each transaction adds the same amount to an account, a teller and a branch, and notes it.
  func verify(_ place: Workplace) throws {
    try place.remount()
    let postgres = postgres(place)
    try postgres.serve {
      let said = try postgres.client(
        "psql", "-A", "-t", "-c",
        """
        SELECT count(*), sum(delta) = (SELECT sum(abalance) FROM pgbench_accounts),
          sum(delta) = (SELECT sum(tbalance) FROM pgbench_tellers),
          sum(delta) = (SELECT sum(bbalance) FROM pgbench_branches) FROM pgbench_history
        """)
      guard said == "\(4 * Self.transactions)|t|t|t\n" else {
        throw TestFailure("the tables have \(said)")
      }
    }
  }
}
