"""Imports an image, clones it, takes a snapshot of the clone, rolls back to it, and tells what has changed meanwhile.

python3 api.py /srv/images/debian-12.qcow2
"""

import os
import sys
import uuid

import grpc
from coppice.v1 import event_service_pb2 as event
from coppice.v1 import event_service_pb2_grpc
from coppice.v1 import job_service_pb2 as job_service
from coppice.v1 import job_service_pb2_grpc
from coppice.v1 import volume_service_pb2 as volume
from coppice.v1 import volume_service_pb2_grpc
from google.rpc import error_details_pb2, status_pb2

image = sys.argv[1] if len(sys.argv) > 1 else "/srv/images/debian-12.qcow2"
socket = os.environ.get("COPPICE_SOCKET", "/run/coppice/coppice.sock")
pool = "pools/default"


def new_id():
    return str(uuid.uuid4())


def reason_of(error):
    """What happened, for programs: the reason of the ErrorInfo that every error carries."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return info.reason
    return None


with grpc.insecure_channel(f"unix://{socket}") as channel:
    volumes = volume_service_pb2_grpc.VolumeServiceStub(channel)
    jobs = job_service_pb2_grpc.JobServiceStub(channel)
    events = event_service_pb2_grpc.EventServiceStub(channel)

    # What is there now, until `synced`; the version is where changes begin.
    watch = events.WatchEvents(event.WatchEventsRequest(parent=pool))
    version = next(message.version for message in watch if message.synced)
    watch.cancel()

    # Long work is a job.
    job = jobs.ImportTemplate(
        job_service.ImportTemplateRequest(
            parent=pool, volume_id="debian-12", source_path=image, request_id=new_id()
        )
    )
    for job in jobs.WatchJob(job_service.WatchJobRequest(name=job.name)):
        if job.state == job_service.JOB_STATE_RUNNING:
            print(f"{job.progress.step} {job.progress.fraction:.0%}")
    if job.state != job_service.JOB_STATE_SUCCEEDED:
        sys.exit(f"{job_service.JobState.Name(job.state)}: {job.error.message}")
    print("imported", job.import_template.volume)

    # Whoever gets no answer asks again with the same request id, and has one clone.
    clone = volume.CloneRequest(
        source=f"{pool}/volumes/debian-12", volume_id="vm-1", request_id=new_id()
    )
    first = volumes.Clone(clone)
    second = volumes.Clone(clone)
    print("cloned once:" if second.uid == first.uid else "cloned twice:", first.name)

    snapshot = volumes.Snapshot(
        volume.SnapshotRequest(parent=first.name, snapshot_id="clean", request_id=new_id())
    )
    undo = volumes.Rollback(
        volume.RollbackRequest(name=snapshot.name, request_id=new_id())
    ).undo
    print("rolled back; to undo:", undo)

    # Another request id is another request, and the name is taken.
    clone.request_id = new_id()
    try:
        volumes.Clone(clone)
    except grpc.RpcError as error:
        print("refused:", error.code().name, reason_of(error))

    # What has changed since the version: nothing is left out.
    watch = events.WatchEvents(event.WatchEventsRequest(parent=pool, version=version))
    for message in watch:
        if message.resync:
            sys.exit("The server no longer knows; what follows is the present state.")
        changes = [
            (change.type, getattr(change, change.WhichOneof("resource")).name)
            for change in message.events
            if not change.HasField("job")
        ]
        for kind, name in changes:
            print(event.EventType.Name(kind).removeprefix("EVENT_TYPE_"), name)
        if undo in [name for _, name in changes]:
            watch.cancel()
            break
