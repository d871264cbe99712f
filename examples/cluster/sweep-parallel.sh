#!/bin/bash
# A sweep with GNU parallel, on this machine or, with --sshlogin, on several that share
# this folder: PARTS parts, in two rounds, since the compared runs are known only when all
# learning rates are tried. Killed and started again, it goes on where it was.
#
#   examples/cluster/sweep-parallel.sh [options of parallel]
#
# EXPERIMENTS names experiments (all without it), LEVEL is --quick, --full or empty, OUT is
# a folder that all machines share.
set -euo pipefail
cd "$(dirname "$0")/../.."

PARTS=${PARTS:-4}
OUT=${OUT:-out/sweep}
cargo build --release --locked -p xtask
known=$(seq -f "--with $OUT/part-%.0f" "$PARTS" | tr '\n' ' ')
for _ in first second; do
    seq "$PARTS" | parallel --line-buffer --halt soon,fail=1 --workdir "$PWD" "$@" \
        target/release/xtask repro ${EXPERIMENTS:-} ${LEVEL:-} \
        --shard "{}/$PARTS" --out "$OUT/part-{}" "$known"
done
