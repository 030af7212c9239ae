# Prints `FILE NAME` for each stored property, and each case of an enumeration, through which a value can
# call what it was not given when it was made: closures, also behind a typealias, in a generic type or in
# an initialiser; weak and unowned references; variables of optional existentials.
#
# -v aliases='A B' names the typealiases of closures. With -v task=aliases those are printed instead.

function start_of_file() {
  depth = 0; collecting = 0; pending_type = 0; in_text = 0; declaration = ""
  kind[0] = "type"
}

function count(text, pattern) { return gsub(pattern, "", text) }

# Whether a declaration may end here.
function is_complete(text) {
  if (count(text, "[(]") != count(text, "[)]") || count(text, "[[]") != count(text, "[]]")) return 0
  return text !~ /([:=,(<&]|->)[ ]*$/
}

function report(text,    name, head) {
  if (task == "aliases") return
  name = text
  sub(modifiers, "", name)
  sub(/^(var|let|case) +/, "", name)
  sub(/[^A-Za-z0-9_].*/, "", name)
  print FILENAME " " name
}

function has_alias(text,    words, number, total, i) {
  total = split(aliases, words, " ")
  gsub(/[^A-Za-z0-9_]/, " ", text)
  for (i = 1; i <= total; i++) if (index(" " text " ", " " words[i] " ")) return 1
  return 0
}

function is_binding(text) {
  if (text ~ /->/ || has_alias(text)) return 1
  if (text ~ /(^| )(weak|unowned(\((un)?safe\))?) /) return 1
  if (text ~ /(^| )var / && text ~ /\(any [^()]*\)[?!]/) return 1
  return text ~ /<[^>]*\(any [^()]*\)[?!]/
}

function finish() {
  if (!collecting) return
  collecting = 0
  if (declaration ~ /(^| )typealias /) {
    if (task == "aliases" && (declaration ~ /->/ || has_alias(declaration))) {
      sub(/^.*typealias +/, "", declaration)
      sub(/[^A-Za-z0-9_].*/, "", declaration)
      print declaration
    }
  } else if (is_binding(declaration)) {
    report(declaration)
  }
}

# Text without braces, in one line, and what stands behind it: a brace or nothing.
function segment(text, ender) {
  sub(/^[ \t]+/, "", text)
  if (kind[depth] == "accessors" && text != "") {
    # Of what has observers a value is stored.
    if (text ~ /^(willSet|didSet)/ && is_binding(of_accessors[depth])) report(of_accessors[depth])
    kind[depth] = "code"
  }
  if (closed_initialiser != "") {
    # A closure that is called at once is none that is stored.
    if (text !~ /^\(/ && text !~ /^\./) report(closed_initialiser)
    closed_initialiser = ""
  }
  if (collecting && may_be_done && text != "") {
    if (text !~ /^(->|[=:&?.,])/) finish()
    may_be_done = 0
  }
  if (collecting) {
    declaration = declaration " " text
  } else if (kind[depth] == "type" && text != "") {
    if (text ~ (modifiers "((var|let|typealias) |case +[A-Za-z0-9_]+ *[(])")) {
      collecting = 1
      may_be_done = 0
      declaration = text
    } else if (text ~ (modifiers "(class|struct|enum|protocol|extension|actor) ")) {
      pending_type = 1
    }
  }

  if (ender == "{") {
    depth++
    kind[depth] = "code"
    if (collecting) {
      if (declaration ~ /= *$/) {
        kind[depth] = "initialiser"
        of_accessors[depth] = declaration
        finish()
      } else if (declaration ~ /[^=]=[^=]/) {
        finish()
      } else {
        collecting = 0
        kind[depth] = "accessors"
        of_accessors[depth] = declaration
      }
    } else if (pending_type) {
      kind[depth] = "type"
    }
    pending_type = 0
  } else if (ender == "}") {
    finish()
    if (kind[depth] == "initialiser") closed_initialiser = of_accessors[depth]
    depth--
  } else if (collecting) {
    may_be_done = is_complete(declaration)
  }
}

BEGIN {
  modifiers = "^((@[A-Za-z_]+(\\([^)]*\\))?|nonisolated(\\(unsafe\\))?|static|final|lazy|weak|indirect|" \
    "unowned(\\((un)?safe\\))?|(open|package|public|internal|private|fileprivate)(\\(set\\))?) +)*"
}

FNR == 1 {
  if (NR > 1) check_end()
  start_of_file()
  last_file = FILENAME
}

{
  line = $0
  # Texts of several lines.
  if (index(line, "\"\"\"")) {
    in_text = !in_text
    if (in_text) sub(/""".*/, "\"\"", line); else sub(/.*"""/, "", line)
  } else if (in_text) {
    next
  }
  while (match(line, /\\\([^()"]*\)/)) line = substr(line, 1, RSTART - 1) substr(line, RSTART + RLENGTH)
  gsub(/"([^"\\]|\\.)*"/, "\"\"", line)
  sub(/\/\/.*/, "", line)
  if (line ~ /^ *#(if|else|elseif|endif)/) next

  while (match(line, /[{}]/)) {
    segment(substr(line, 1, RSTART - 1), substr(line, RSTART, 1))
    line = substr(line, RSTART + 1)
  }
  segment(line, "")
}

END { check_end() }

function check_end() {
  segment("", "")
  finish()
  if (depth != 0) print last_file " braces-do-not-match"
}
