#!/usr/bin/env bash
# Does it bite? Plant each bug of tests/sim/bugs in a copy of the tree, run seeds until one finds it:
#
#   tests/sim/bugs.sh [--seeds N] [NAME]...        all of them where none is named; 1000 seeds
#
# A patch says what it plants in its first line. Where its second one says "Second line:", something
# else stands behind what it breaks: then it need not be found, and that line is the reason. Prints a
# table: bug, the seed that found it, what it said. Exits with 1 where a bug that must be found is
# not, or a patch no longer fits or builds.
set -euo pipefail
cd "$(dirname "$0")/../.."
seeds=1000
if [ "${1:-}" = --seeds ]; then
    seeds=$2
    shift 2
fi
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    for patch in tests/sim/bugs/*.patch; do
        names+=("$(basename "$patch" .patch)")
    done
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/chatmesh-bugs-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/tree"
cp -a CMakeLists.txt mesh storage gateway nodes tests scripts "$work/tree"
sed -i "s/-Werror/-Wno-unused/" "$work/tree/CMakeLists.txt"
cmake -S "$work/tree" -B "$work/build" >/dev/null
cmake --build "$work/build" -j "$(nproc)" --target chatmesh-sim >/dev/null

# row WHAT SEED SAID
row() {
    printf '| %s | %s | %s |\n' "$@"
}

# run_bug NAME: one row of the table.
run_bug() {
    local patch=$PWD/tests/sim/bugs/$1.patch what behind said code=0
    what=$(sed -n '1s/^Planted: \(.*\)\.$/\1/p' "$patch")
    behind=$(sed -n '2s/^Second line: //p' "$patch")
    if ! patch -d "$work/tree" -p1 -s --dry-run <"$patch" >/dev/null 2>&1; then
        row "$what" "" "the patch does not fit any more"
        return 1
    fi
    patch -d "$work/tree" -p1 -s --no-backup-if-mismatch <"$patch"
    if ! cmake --build "$work/build" -j "$(nproc)" --target chatmesh-sim >"$work/log" 2>&1; then
        row "$what" "" "it does not build"
        code=1
    elif "$work/build/chatmesh-sim" --seeds "$seeds" >"$work/log" 2>&1; then
        row "$what" "none of $seeds" "$behind"
        [ -n "$behind" ] || code=1
    else
        said=$(grep -E '^seed [0-9]+ (violates|crashes|hangs)' "$work/log" | tail -1)
        row "$what" "$(cut -d' ' -f2 <<<"$said")" \
            "$(sed -E 's/^seed [0-9]+ (violates at [0-9.]+ ms: )?//' <<<"$said")"
    fi
    patch -d "$work/tree" -p1 -s -R --no-backup-if-mismatch <"$patch"
    return $code
}

row mutation seed "what it said"
echo '|---|---|---|'
failed=0
for name in "${names[@]}"; do
    run_bug "$name" || failed=$((failed + 1))
done
[ "$failed" -eq 0 ] || echo "$failed of ${#names[@]} not found" >&2
[ "$failed" -eq 0 ]
