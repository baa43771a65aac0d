# For scripts that plant bugs (tests/sim/bugs.sh, tests/rig/bugs.sh), sourced at the root of the tree.
#
# A patch of tests/sim/bugs says what it plants in its first line. plant_begin makes a copy of the
# tree ($plant_tree), which goes with the script; plant NAME puts the bug into it and builds the
# targets named behind; unplant NAME takes it out; plant_each COMMAND NAME... runs them all. What they
# find wrong is in $plant_error.

plant_begin() {
    plant_work=$(mktemp -d "${TMPDIR:-/tmp}/chatmesh-bugs-XXXXXX")
    trap 'rm -rf "$plant_work"' EXIT
    plant_tree=$plant_work/tree
    plant_build=$plant_work/build
    mkdir "$plant_tree"
    cp -a CMakeLists.txt mesh storage gateway nodes tests scripts "$plant_tree"
    sed -i "s/-Werror/-Wno-unused/" "$plant_tree/CMakeLists.txt"
    cmake -S "$plant_tree" -B "$plant_build" >/dev/null
    plant_make "$@"
}

# plant_make TARGET...
plant_make() {
    cmake --build "$plant_build" -j "$(nproc)" --target "$@" >"$plant_work/log" 2>&1
}

plant_says() {
    sed -n '1s/^Planted: \(.*\)\.$/\1/p' "tests/sim/bugs/$1.patch"
}

plant() {
    local patch=$PWD/tests/sim/bugs/$1.patch
    shift
    plant_error="the patch does not fit any more"
    patch -d "$plant_tree" -p1 -s --dry-run <"$patch" >/dev/null 2>&1 || return 1
    patch -d "$plant_tree" -p1 -s --no-backup-if-mismatch <"$patch"
    plant_error="it does not build"
    plant_make "$@"
}

unplant() {
    patch -d "$plant_tree" -p1 -s -R --no-backup-if-mismatch <"tests/sim/bugs/$1.patch"
}

# plant_each COMMAND NAME...: COMMAND NAME for each of them. Fails where one of them did.
plant_each() {
    local command=$1 name failed=0
    shift
    for name in "$@"; do
        "$command" "$name" || failed=$((failed + 1))
    done
    [ "$failed" -eq 0 ] && return
    echo "$failed of $# not found" >&2
    return 1
}
