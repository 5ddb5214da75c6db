import { CoppiceError } from '../model/errors.ts';
import { type HttpAnswer, refusedBy, requestJson } from './http.ts';
import { isObject } from './json.ts';
import type { GrownDisk, Told } from './notify.ts';
import { fitsPath } from './same-disk.ts';
import type { HypervisorTarget } from './target.ts';

type FirecrackerTarget = Extract<HypervisorTarget, { kind: 'firecracker' }>;

/**
 * Has Firecracker look at the size of a drive again, and tell its guest: it does when the drive is given its own path once more.
 * Requests and answers: src/firecracker/swagger/firecracker.yaml of Firecracker 1.17, docs/api_requests/patch-block.md.
 */
export async function resizeInFirecracker(
  { socket, drive }: FirecrackerTarget,
  disk: GrownDisk,
  signal: AbortSignal,
): Promise<Told> {
  const path = await pathOfDrive(socket, drive, disk, signal);
  const body = { drive_id: drive, path_on_host: path };
  const answer = await requestJson(socket, 'PATCH', `/drives/${drive}`, body, signal);
  if (answer.status !== 204) throw refused(`PATCH /drives/${drive}`, answer);
  return { told: `Firecracker on ${socket}: PATCH /drives/${drive}` };
}

/**
 * The path as Firecracker knows it, which in a jail is another than here. Any other path would exchange the disk under the running
 * guest.
 */
async function pathOfDrive(
  socket: string,
  drive: string,
  disk: GrownDisk,
  signal: AbortSignal,
): Promise<string> {
  const answer = await requestJson(socket, 'GET', '/vm/config', undefined, signal);
  if (answer.status !== 200) throw refused('GET /vm/config', answer);
  const drives = isObject(answer.body) ? answer.body['drives'] : undefined;
  const all: readonly unknown[] = Array.isArray(drives) ? drives : [];
  const found = all.find((each) => isObject(each) && each['drive_id'] === drive);
  if (!isObject(found)) {
    const ids = all.flatMap((each) =>
      isObject(each) && typeof each['drive_id'] === 'string' ? [each['drive_id']] : [],
    );
    throw new CoppiceError(
      'not_found',
      `the machine has no drive ${drive}; it has ${ids.slice(0, 10).join(', ').slice(0, 500) || 'none'}.`,
    );
  }
  const { path_on_host: path } = found;
  if (typeof path !== 'string')
    throw new CoppiceError('unsupported', `the drive ${drive} is no file that Firecracker has open itself.`);
  if (fitsPath(path, disk.path) === 'another')
    throw new CoppiceError('invalid_argument', `the drive ${drive} is ${path}, and not ${disk.path}.`);
  return path;
}

function refused(what: string, answer: HttpAnswer): CoppiceError {
  const fault = isObject(answer.body) ? answer.body['fault_message'] : undefined;
  return refusedBy('Firecracker', what, answer, typeof fault === 'string' ? fault : '');
}
