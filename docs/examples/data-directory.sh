#!/bin/sh
# Makes a data directory that can be snapshotted, rolled back and tried on, on a host whose file systems can't: the pool is a loop
# file or, with DEVICE, a partition. Can be run again: what is there already stays.
# Usage: data-directory.sh NAME DIRECTORY [SUBDIRECTORY-OF-A-DATABASE]
# Variables: COPPICE_POOL where the pool is mounted, SIZE of the loop file, DEVICE instead of a file, OWNER of the directory,
#            NOCOW=1 to have the database's files overwritten in place, FSTAB for another file than /etc/fstab
set -eu
name=$1 directory=$2 database=${3:-}
export COPPICE_POOL="${COPPICE_POOL:-/var/lib/coppice}"

if ! coppice pool show >/dev/null 2>&1; then
  if [ -n "${DEVICE:-}" ]; then coppice pool create --device "$DEVICE"; else coppice pool create --size "${SIZE:-20G}"; fi
fi
coppice pool persist ${FSTAB:+--fstab "$FSTAB"}

if ! coppice show "$name" >/dev/null 2>&1; then
  set -- --kind tree
  [ -n "${OWNER:-}" ] && set -- "$@" --owner "$OWNER"
  [ -n "${NOCOW:-}" ] && [ -n "$database" ] && set -- "$@" --nocow "$database"
  coppice create "$name" "$@"
fi
coppice mount "$name" "$directory" ${FSTAB:+--fstab "$FSTAB"}
if [ -n "$database" ]; then coppice set "$name" quiesce.postgres="$database"; fi
