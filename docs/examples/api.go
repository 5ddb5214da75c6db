// Imports an image, clones it, takes a snapshot of the clone, rolls back to it, and tells what has changed meanwhile.
//
//	go run api.go /srv/images/debian-12.qcow2
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	coppice "coppice/v1"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

const pool = "pools/default"

func main() {
	image := "/srv/images/debian-12.qcow2"
	if len(os.Args) > 1 {
		image = os.Args[1]
	}
	socket := os.Getenv("COPPICE_SOCKET")
	if socket == "" {
		socket = "/run/coppice/coppice.sock"
	}
	// A bare path would be sent as the name of a host, which it is not.
	connection, err := grpc.Dial("unix://"+socket, grpc.WithInsecure())
	check(err)
	defer connection.Close()
	volumes := coppice.NewVolumeServiceClient(connection)
	jobs := coppice.NewJobServiceClient(connection)
	events := coppice.NewEventServiceClient(connection)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	// What is there now, until `synced`; the version is where changes begin.
	watch, err := events.WatchEvents(ctx, &coppice.WatchEventsRequest{Parent: pool})
	check(err)
	version := ""
	for synced := false; !synced; {
		message, err := watch.Recv()
		check(err)
		version, synced = message.Version, message.Synced
	}

	// Long work is a job.
	job, err := jobs.ImportTemplate(ctx, &coppice.ImportTemplateRequest{
		Parent: pool, VolumeId: "debian-12", SourcePath: image, RequestId: newID(),
	})
	check(err)
	progress, err := jobs.WatchJob(ctx, &coppice.WatchJobRequest{Name: job.Name})
	check(err)
	for {
		next, err := progress.Recv()
		if err == io.EOF {
			break
		}
		check(err)
		job = next
		if job.State == coppice.JobState_JOB_STATE_RUNNING {
			fmt.Printf("%s %.0f %%\n", job.Progress.Step, job.Progress.Fraction*100)
		}
	}
	if job.State != coppice.JobState_JOB_STATE_SUCCEEDED {
		log.Fatalf("%s: %s", job.State, job.Error.GetMessage())
	}
	fmt.Println("imported", job.GetImportTemplate().Volume)

	// Whoever gets no answer asks again with the same request id, and has one clone.
	clone := &coppice.CloneRequest{Source: pool + "/volumes/debian-12", VolumeId: "vm-1", RequestId: newID()}
	first, err := volumes.Clone(ctx, clone)
	check(err)
	second, err := volumes.Clone(ctx, clone)
	check(err)
	if second.Uid == first.Uid {
		fmt.Println("cloned once:", first.Name)
	}

	snapshot, err := volumes.Snapshot(ctx, &coppice.SnapshotRequest{
		Parent: first.Name, SnapshotId: "clean", RequestId: newID(),
	})
	check(err)
	rolledBack, err := volumes.Rollback(ctx, &coppice.RollbackRequest{Name: snapshot.Name, RequestId: newID()})
	check(err)
	fmt.Println("rolled back; to undo:", rolledBack.Undo)

	// Another request id is another request, and the name is taken.
	clone.RequestId = newID()
	if _, err := volumes.Clone(ctx, clone); err != nil {
		refusal := status.Convert(err)
		for _, detail := range refusal.Details() {
			if info, ok := detail.(*errdetails.ErrorInfo); ok {
				fmt.Println("refused:", refusal.Code(), info.Reason)
			}
		}
	}

	// What has changed since the version: nothing is left out.
	watch, err = events.WatchEvents(ctx, &coppice.WatchEventsRequest{Parent: pool, Version: version})
	check(err)
	for seen := false; !seen; {
		message, err := watch.Recv()
		check(err)
		if message.Resync {
			log.Fatal("The server no longer knows; what follows is the present state.")
		}
		for _, change := range message.Events {
			name := nameOf(change)
			if name == "" {
				continue
			}
			fmt.Println(strings.TrimPrefix(change.Type.String(), "EVENT_TYPE_"), name)
			seen = seen || name == rolledBack.Undo
		}
	}
}

func nameOf(change *coppice.Event) string {
	switch resource := change.Resource.(type) {
	case *coppice.Event_Volume:
		return resource.Volume.Name
	case *coppice.Event_Snapshot:
		return resource.Snapshot.Name
	}
	return ""
}

func newID() string {
	id := make([]byte, 16)
	_, err := rand.Read(id)
	check(err)
	return fmt.Sprintf("%x", id)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
