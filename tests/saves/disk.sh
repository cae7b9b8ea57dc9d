#!/usr/bin/env bash
# Real disks at their worst: a file system of 1 MiB that runs full, and an fsync that fails every seventh time once the gateway has
# started (its start syncs each folder up to the root, twice, and is tried again a second later when one fails). Needs strace, and
# either root or user namespaces (for the mount, which nobody else sees).
set -euo pipefail
cd "$(dirname "$0")/../.."
test=$(cargo test --test it --no-run --message-format=json 2>/dev/null |
  python3 -c 'import json,sys; print([m["executable"] for m in map(json.loads, sys.stdin) if m.get("executable") and m["target"]["name"] == "it"][-1])')
export SMALL_DISK
SMALL_DISK=$(mktemp -d)
trap 'rmdir "$SMALL_DISK"' EXIT
namespace=(unshare --mount)
[ "$(id -u)" = 0 ] || namespace=(unshare --map-root-user --mount)
"${namespace[@]}" sh -c 'mount -t tmpfs -o size=1m tmpfs "$SMALL_DISK" && exec "$0" --exact relay_disk::a_real_disk_that_is_full --nocapture' "$test"
SICK_FSYNC=1 strace -f -qq -o /dev/null -e trace=fsync -e inject=fsync:error=EIO:when=20+7 \
  "$test" --exact relay_disk::a_real_disk_whose_fsync_fails --nocapture
