#!/bin/bash
# Reports each test that neither has a time limit itself nor stands in a suite that has one, and
# each suite without one: a test that waits in vain must fail, not stand still. Reports random
# numbers that TEST_SEED does not reach, too, and pointers into buffers that may be gone.
#
#   Tests/Lint/tests.sh [FOLDER]...
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- Tests/*Tests

mapfile -t files < <(find "$@" -name '*.swift' | sort)
status=0

# Looks at the attribute and the declaration that belong together: swift format puts what is nested
# two columns further to the right, and an attribute's arguments may take several lines.
awk '
  # What stands around this line: the innermost type that begins further to the left.
  function isLimited(column,    level) {
    for (level = depth; level > 0; level--) {
      if (columns[level] < column && limits[level]) return 1
    }
    return 0
  }

  function open(column, name, limited) {
    while (depth > 0 && columns[depth] >= column) depth--
    depth++
    columns[depth] = column
    limits[depth] = limited || (name in limitedSuites)
    if (limited) limitedSuites[name] = 1
  }

  FNR == 1 { depth = 0; attribute = ""; pending = "" }
  /^ *\/\// { next }

  {
    text = $0
    match(text, /^ */)
    column = RLENGTH
  }

  attribute == "" && /^ *@(Suite|Test)/ {
    attribute = text
    attributeColumn = column
    attributeLine = FNR
    kind = text ~ /^ *@Suite/ ? "suite" : "test"
    text = ""
  }
  attribute != "" {
    attribute = attribute " " text
    # The declaration ends the attribute.
    if (attribute !~ /(^|[ )])(func|struct|class|enum|actor) +[`A-Za-z]/) next
    name = attribute
    sub(/^.*[ )](func|struct|class|enum|actor) +/, "", name)
    sub(/[^A-Za-z0-9_`].*$/, "", name)
    head = attribute
    sub(/[ )](func|struct|class|enum|actor) +[`A-Za-z].*$/, ")", head)
    limited = head ~ /\.timeLimit\(/
    if (kind == "suite") {
      if (!limited && pass == 2) {
        printf "%s:%d: the suite %s has no .timeLimit\n", FILENAME, attributeLine, name
        bad = 1
      }
      open(attributeColumn, name, limited)
    } else if (pass == 2 && !limited && !isLimited(attributeColumn)) {
      printf "%s:%d: the test %s has no .timeLimit\n", FILENAME, attributeLine, name
      bad = 1
    }
    attribute = ""
    next
  }
  /^ *((package|public|private|fileprivate|final|extension) +)*(extension|struct|class|enum|actor) +[A-Z]/ {
    name = text
    sub(/^.*(extension|struct|class|enum|actor) +/, "", name)
    sub(/[^A-Za-z0-9_].*$/, "", name)
    open(column, name, 0)
  }
  END { exit bad }
' pass=1 "${files[@]}" pass=2 "${files[@]}" || status=1

if found=$(grep -nE 'SeededRandom\(seed:|SystemRandomNumberGenerator|\.(random|shuffled|randomElement)\((in: [^,]*)?\)' \
  "${files[@]}" | grep -vE 'fsid: \.random\(\)|UUID: \.random\(\)|: *//'); then
  echo "random numbers that TEST_SEED does not reach; take SeededRandom(testSeed:):"
  echo "$found" | sed 's/^/  /'
  status=1
fi

# A buffer goes after its last use, and a pointer into it is no use of it.
if found=$(grep -rnE '\)\.readable\b' Sources "${files[@]}" | grep -vE ': *//'); then
  echo "pointers into a buffer that no variable keeps:"
  echo "$found" | sed 's/^/  /'
  status=1
fi

exit $status
