#!/bin/bash
# Reports a file of a lower layer of FSCore that names a type which a higher layer declares, and
# files that have outgrown the limit. The layers, lowest first, are in ARCHITECTURE.md.
set -euo pipefail
cd "$(dirname "$0")/../../Sources/FSCore"

layers=(Support Device OnDisk Chunks Transaction Tree Opening Extents SpaceRecords Inodes Directories Files
  Subvolumes Commit Volume Maintenance)
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

cd ../..
while read -r lines file; do
  if [ "$file" != total ] && [ "$lines" -gt 500 ]; then
    echo "$file has $lines lines; 500 is the limit"
    status=1
  fi
done < <(find Sources Tests -name '*.swift' -exec wc -l {} +)

exit $status
