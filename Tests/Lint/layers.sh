#!/bin/bash
# Reports a file of a lower layer of FSCore that names a type which a higher layer declares, and
# files that have outgrown the limit. The layers, lowest first, are in ARCHITECTURE.md.
set -euo pipefail
cd "$(dirname "$0")/../../Sources/FSCore"

layers=(Support Device OnDisk Chunks Transaction Tree Opening Extents SpaceRecords Inodes Directories Files
  Subvolumes Commit Relocation Volume Maintenance)
status=0

declare -A declared
for layer in "${layers[@]}"; do
  [ -d "$layer" ] || continue
  declared[$layer]=$(grep -rhoE \
    '^(package |public |private |fileprivate )?(final )?(class|struct|enum|protocol) [A-Z][A-Za-z]+' \
    "$layer" | grep -vE '^(private|fileprivate)' | awk '{print $NF}' | sort -u)
done

for ((low = 0; low < ${#layers[@]}; low++)); do
  [ -d "${layers[low]}" ] || continue
  for ((high = low + 1; high < ${#layers[@]}; high++)); do
    for type in ${declared[${layers[high]}]:-}; do
      # Comments may speak of higher layers.
      if found=$(grep -rnwE "$type" "${layers[low]}" | grep -vE '^[^:]+:[0-9]+: *//'); then
        echo "${layers[low]} names $type of ${layers[high]}:"
        echo "$found" | sed 's/^/  /' | head -3
        status=1
      fi
    done
  done
done

# Stored closures, weak references and parts that are set late call upwards unseen: only those that
# ARCHITECTURE.md lists may be there. Of Subvolumes and above only Volume and Maintenance are free to
# have others.
lint=../../Tests/Lint
bindings() {
  local aliases
  # A typealias may name another one.
  aliases=$(awk -v task=aliases -f $lint/bindings.awk "$@")
  aliases=$(awk -v task=aliases -v aliases="${aliases//$'\n'/ }" -f $lint/bindings.awk "$@")
  awk -v aliases="${aliases//$'\n'/ }" -f $lint/bindings.awk "$@" | sort -u
}

plants=$lint/Plants/bindings.swift
planted=$(sed -nE \
  's/^ *(.*[ (])?(var|let|case) ([A-Za-z]+).*\/\/ planted$/\3/p' $plants | sort)
if ! missed=$(diff <(echo "$planted") <(bindings $plants | awk '{print $2}' | sort)); then
  echo "bindings.awk does not report just what is planted in Plants/bindings.swift:"
  echo "$missed"
  status=1
fi

allowed=$(sed -n '/^### Late bindings/,/^## /p' ../../ARCHITECTURE.md \
  | sed -nE 's/^\| `([^`]+)` \| `([^`]+)` \|.*/\1 \2/p')
files=()
for layer in "${layers[@]}"; do
  case $layer in Volume | Maintenance) continue ;; esac
  while read -r file; do files+=("$file"); done < <(find "$layer" -name '*.swift' | sort)
done
bindings=$(bindings "${files[@]}")
while read -r binding; do
  if [ -n "$binding" ] && ! grep -qxF "$binding" <<<"$allowed"; then
    echo "${binding% *}: ${binding##* } calls upwards unseen, and ARCHITECTURE.md does not list it"
    status=1
  fi
done <<<"$bindings"
while read -r binding; do
  if [ -n "$binding" ] && ! grep -qxF "$binding" <<<"$bindings"; then
    echo "ARCHITECTURE.md lists ${binding##* } of ${binding% *}, which is not there"
    status=1
  fi
done <<<"$allowed"

cd ../..
while read -r lines file; do
  if [ "$file" != total ] && [ "$lines" -gt 500 ]; then
    echo "$file has $lines lines; 500 is the limit"
    status=1
  fi
done < <(find Sources Tests -name '*.swift' -exec wc -l {} +)

exit $status
