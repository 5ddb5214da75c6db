#!/bin/sh
# Imports an image, clones it, takes a snapshot of the clone, rolls back to it, and tells what has changed meanwhile.
# Needs curl, jq, and perl for streams.
#   sh api.sh /srv/images/debian-12.qcow2
set -eu
image=${1:-/srv/images/debian-12.qcow2}
socket=${COPPICE_SOCKET:-/run/coppice/coppice.sock}
pool=pools/default

# A request is JSON, and so is the answer. The name of the host means nothing.
call() {
  answer=$(curl --silent --show-error --fail-with-body --unix-socket "$socket" \
    --header 'content-type: application/json' --data "$2" "http://coppice/coppice.v1.$1") || {
    echo "$answer" >&2
    return 1
  }
  echo "$answer"
}
# In a stream, five bytes stand before each message: what it is, and its length.
stream() {
  perl -e 'print pack("CN", 0, length $ARGV[0]), $ARGV[0]' "$2" >"$work/request-$3"
  exec curl --silent --no-buffer --unix-socket "$socket" --header 'content-type: application/connect+json' \
    --data-binary "@$work/request-$3" "http://coppice/coppice.v1.$1"
}
messages() {
  perl -e 'while (read STDIN, $head, 5) { ($flags, $length) = unpack "CN", $head; read STDIN, $_, $length; print "$_\n" if $flags == 0 }'
}
new_id() { cat /proc/sys/kernel/random/uuid; }

work=$(mktemp -d)
: >"$work/events"
stream EventService/WatchEvents "{\"parent\": \"$pool\"}" events >"$work/events" &
watcher=$!
trap 'kill "$watcher"; rm -r "$work"' EXIT
# What is there now, until `synced`; then changes.
until messages <"$work/events" | jq -e 'select(.synced)' >"$work/synced"; do sleep 0.1; done

# Long work is a job.
job=$(call JobService/ImportTemplate "{\"parent\": \"$pool\", \"volume_id\": \"debian-12\", \"source_path\": \"$image\",
  \"request_id\": \"$(new_id)\"}" | jq --raw-output .name)
(stream JobService/WatchJob "{\"name\": \"$job\"}" job) | messages >"$work/job"
tail -n 1 "$work/job" | jq --raw-output '.importTemplate.volume as $made | if .state == "JOB_STATE_SUCCEEDED" then "imported \($made)" else "\(.state): \(.error.message)\n" | halt_error end'

# Whoever gets no answer asks again with the same request id, and has one clone.
clone="\"source\": \"$pool/volumes/debian-12\", \"volume_id\": \"vm-1\""
id=$(new_id)
first=$(call VolumeService/Clone "{$clone, \"request_id\": \"$id\"}")
second=$(call VolumeService/Clone "{$clone, \"request_id\": \"$id\"}")
[ "$first" = "$second" ] && echo "cloned once: $(echo "$first" | jq --raw-output .name)"

snapshot=$(call VolumeService/Snapshot "{\"parent\": \"$pool/volumes/vm-1\", \"snapshot_id\": \"clean\",
  \"request_id\": \"$(new_id)\"}" | jq --raw-output .name)
undo=$(call VolumeService/Rollback "{\"name\": \"$snapshot\", \"request_id\": \"$(new_id)\"}" | jq --raw-output .undo)
echo "rolled back; to undo: $undo"

# Another request id is another request, and the name is taken.
if refusal=$(call VolumeService/Clone "{$clone, \"request_id\": \"$(new_id)\"}" 2>&1); then exit 1; fi
echo "$refusal" | grep '^{' |
  jq --raw-output '"refused: \(.code) \([.details[].debug | select(.reason).reason][0])"'

# What has changed: nothing is left out.
until messages <"$work/events" | grep -q "$undo"; do sleep 0.1; done
messages <"$work/events" | jq --raw-output '.events[]? | select(.initial or .job | not)
  | "\(.type | ltrimstr("EVENT_TYPE_")) \((.volume // .snapshot // .pool).name)"'
