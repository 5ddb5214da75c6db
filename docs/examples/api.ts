// Imports an image, clones it, takes a snapshot of the clone, rolls back to it, and tells what has changed meanwhile.
//   node api.ts /srv/images/debian-12.qcow2
import { randomUUID } from 'node:crypto';
import {
  Code,
  ConnectError,
  connectCoppice,
  ErrorInfoSchema,
  EventType,
  JobState,
  poolName,
  volumeName,
} from 'coppice/client';

const [image = '/srv/images/debian-12.qcow2'] = process.argv.slice(2);
using coppice = connectCoppice({ socket: process.env['COPPICE_SOCKET'] ?? '/run/coppice/coppice.sock' });
const parent = poolName('default');

// What is there now, until `synced`; the version is where changes begin.
let version = '';
for await (const message of coppice.events.watchEvents({ parent })) {
  version = message.version;
  if (message.synced) break;
}

// Long work is a job.
let job = await coppice.jobs.importTemplate({
  parent,
  volumeId: 'debian-12',
  sourcePath: image,
  requestId: randomUUID(),
});
for await (job of coppice.jobs.watchJob({ name: job.name })) {
  const { step, fraction } = job.progress ?? { step: '', fraction: 0 };
  if (job.state === JobState.RUNNING) console.log(`${step} ${Math.floor(fraction * 100)} %`);
}
if (job.state !== JobState.SUCCEEDED) throw new Error(job.error?.message);
console.log('imported', volumeName('default', 'debian-12'));

// Whoever gets no answer asks again with the same request id, and has one clone.
const clone = { source: volumeName('default', 'debian-12'), volumeId: 'vm-1', requestId: randomUUID() };
const first = await coppice.volumes.clone(clone);
const second = await coppice.volumes.clone(clone);
console.log(second.uid === first.uid ? 'cloned once:' : 'cloned twice:', first.name);

const snapshot = await coppice.volumes.snapshot({
  parent: first.name,
  snapshotId: 'clean',
  requestId: randomUUID(),
});
const { undo } = await coppice.volumes.rollback({ name: snapshot.name, requestId: randomUUID() });
console.log('rolled back; to undo:', undo);

// Another request id is another request, and the name is taken.
try {
  await coppice.volumes.clone({ ...clone, requestId: randomUUID() });
} catch (error) {
  if (!(error instanceof ConnectError)) throw error;
  const [info] = error.findDetails(ErrorInfoSchema);
  console.log('refused:', Code[error.code], info?.reason);
}

// What has changed since the version: nothing is left out.
const verbs = { [EventType.ADDED]: 'ADDED', [EventType.CHANGED]: 'CHANGED', [EventType.REMOVED]: 'REMOVED' };
watch: for await (const { events, resync } of coppice.events.watchEvents({ parent, version })) {
  if (resync) throw new Error('The server no longer knows; what follows is the present state.');
  for (const { type, resource } of events) {
    if (resource.case === 'job') continue;
    console.log(Reflect.get(verbs, type), resource.value?.name);
    if (resource.value?.name === undo) break watch;
  }
}
