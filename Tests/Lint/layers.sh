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

# Stored closures and weak references call upwards unseen: only those that ARCHITECTURE.md lists may be
# there. Of Subvolumes and above only Volume and Maintenance are free to have others.
allowed=$(sed -n '/^### Late bindings/,/^## /p' ../../ARCHITECTURE.md \
  | sed -nE 's/^\| `([^`]+)` \| `([^`]+)` \|.*/\1 \2/p')
modifiers='((nonisolated\(unsafe\)|package|public|private|fileprivate|private\(set\)|static) +)*'
bindings=$(for layer in "${layers[@]}"; do
  case $layer in Volume | Maintenance) continue ;; esac
  [ -d "$layer" ] || continue
  grep -rnE --include='*.swift' \
    "^ *$modifiers(weak|unowned(\((un)?safe\))?) +(var|let) |^ *$modifiers(var|let) [A-Za-z]+ *: [^={]*->" \
    "$layer" | sed -nE 's/^([^:]+):[0-9]+:.*(var|let) ([A-Za-z]+).*/\1 \3/p' || true
done | sort -u)
while read -r binding; do
  if [ -n "$binding" ] && ! grep -qxF "$binding" <<<"$allowed"; then
    echo "${binding% *}: ${binding##* } is a stored closure or weak reference that ARCHITECTURE.md does not list"
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
