#!/usr/bin/env bash
# Does the rig bite? Plant a bug in a copy of the tree, then faults against real processes until a
# check finds it:
#
#   tests/rig/bugs.sh [--minutes N] [NAME]...      all of the table below where none is named
#
# Each gets three runs of N minutes (2) with the faults that ought to show it. Two cannot be found
# here: the network changes no bytes, so that a chunk's checksum is looked at by a unit test; and a
# sync error that we ignore changes nothing, since RocksDB takes no write after one (the simulator's
# store does). Prints a table: bug, minutes, what was said. Exits with 1 where a bug is not found.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/support/plant.sh
minutes=2
if [ "${1:-}" = --minutes ]; then
    minutes=$2
    shift 2
fi

# The faults that ought to show it; "unit" and a test where those do not reach it.
faults_of() {
    case $1 in
    ack_before_fsync) echo 'F2' ;;
    ack_before_quorum) echo 'F1|F6' ;;
    no_dedup_in_transfer) echo 'F16|F17|F1 leader' ;;
    resume_off_by_one) echo 'F21' ;;
    chunk_unchecked) echo 'unit router_test_transfer' ;;
    placed_by_gossip) echo 'F6|F8|F17' ;;
    *) echo '.' ;;
    esac
}

names=("$@")
[ ${#names[@]} -gt 0 ] || names=(ack_before_fsync ack_before_quorum no_dedup_in_transfer
    resume_off_by_one chunk_unchecked placed_by_gossip)
plant_begin chatmesh

# hunt FAULTS: until a run finds something, or three did not. Sets `tried` and `said`.
hunt() {
    local seed
    tried=0
    for seed in 1 2 3; do
        tried=$((tried + minutes))
        if ! node tests/rig/rig.js --minutes "$minutes" --seed "$seed" --only "$1" \
            --binary "$plant_build/chatmesh" >"$plant_work/log" 2>&1; then
            said=$(grep -m1 -oE 'C[0-9]+[: ].*' "$plant_work/log" | cut -c1-100 || true)
            # Whoever runs this wants the sentence, not the history.
            grep -oE '/[^ ]*chatmesh-kept-[0-9-]+' "$plant_work/log" | sort -u | xargs -r rm -rf
            [ -n "$said" ] || return 1
            return 0
        fi
    done
    said="not found"
    return 1
}

# run_bug NAME: one row of the table.
run_bug() {
    local faults unit='' code=0
    faults=$(faults_of "$1")
    case $faults in unit*) unit=${faults#unit } ;; esac
    tried=-
    if ! plant "$1" "${unit:-chatmesh}"; then
        said=$plant_error
        code=1
    elif [ -n "$unit" ]; then
        if "$plant_build/$unit" >"$plant_work/log" 2>&1; then
            said="not found"
            code=1
        else
            said=$(grep -m1 -oE '\[  FAILED  \] .*' "$plant_work/log")
        fi
    else
        hunt "$faults" || code=1
    fi
    printf '| %s | %s | %s |\n' "$(plant_says "$1")" "$tried" "$said"
    unplant "$1"
    return $code
}

printf '| mutation | minutes | what it said |\n|---|---|---|\n'
plant_each run_bug "${names[@]}"
