#!/usr/bin/env bash
# Does it bite? Plant each bug of tests/sim/bugs in a copy of the tree, run seeds until one finds it:
#
#   tests/sim/bugs.sh [--seeds N] [NAME]...        all of them where none is named; 1000 seeds
#
# Where the second line of a patch says "Second line:", something else stands behind what it breaks:
# then it need not be found, and that line is the reason. Where it says "Not here:", the simulation
# has nothing to find it with. Prints a table: bug, the seed that found it, what it said. Exits with
# 1 where a bug that must be found is not, or a patch no longer fits or builds.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/support/plant.sh
seeds=1000
if [ "${1:-}" = --seeds ]; then
    seeds=$2
    shift 2
fi
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    for patch in tests/sim/bugs/*.patch; do
        grep -q '^Not here: ' "$patch" || names+=("$(basename "$patch" .patch)")
    done
fi
plant_begin chatmesh-sim

# row WHAT SEED SAID
row() {
    printf '| %s | %s | %s |\n' "$@"
}

# run_bug NAME: one row of the table.
run_bug() {
    local what behind said code=0
    what=$(plant_says "$1")
    behind=$(sed -n '2s/^Second line: //p' "tests/sim/bugs/$1.patch")
    if ! plant "$1" chatmesh-sim; then
        row "$what" "" "$plant_error"
        code=1
    elif "$plant_build/chatmesh-sim" --seeds "$seeds" >"$plant_work/log" 2>&1; then
        row "$what" "none of $seeds" "$behind"
        [ -n "$behind" ] || code=1
    else
        said=$(grep -E '^seed [0-9]+ (violates|crashes|hangs)' "$plant_work/log" | tail -1)
        row "$what" "$(cut -d' ' -f2 <<<"$said")" \
            "$(sed -E 's/^seed [0-9]+ (violates at [0-9.]+ ms: )?//' <<<"$said")"
    fi
    unplant "$1"
    return $code
}

row mutation seed "what it said"
echo '|---|---|---|'
plant_each run_bug "${names[@]}"
