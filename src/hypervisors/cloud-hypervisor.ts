import { CoppiceError } from '../model/errors.ts';
import { type HttpAnswer, refusedBy, requestJson } from './http.ts';
import { isObject } from './json.ts';
import type { GrownDisk, Told } from './notify.ts';
import { fitsPath } from './same-disk.ts';
import type { HypervisorTarget } from './target.ts';

type CloudHypervisorTarget = Extract<HypervisorTarget, { kind: 'cloud-hypervisor' }>;

/**
 * Has cloud-hypervisor give a disk its new size, and tell its guest (`vm.resize-disk`).
 * Requests and answers: vmm/src/api/openapi/cloud-hypervisor.yaml of cloud-hypervisor, version 0.3.0 of the API.
 */
export async function resizeInCloudHypervisor(
  { socket, disk: id }: CloudHypervisorTarget,
  disk: GrownDisk,
  signal: AbortSignal,
): Promise<Told> {
  await requireDisk(socket, id, disk, signal);
  const body = { id, desired_size: disk.bytes };
  const answer = await requestJson(socket, 'PUT', '/api/v1/vm.resize-disk', body, signal);
  if (answer.status !== 204) throw refused('vm.resize-disk', answer);
  return { told: `cloud-hypervisor on ${socket}: vm.resize-disk of ${id}` };
}

/** Sees that the disk of that id is ours: another one could be made smaller. */
async function requireDisk(socket: string, id: string, disk: GrownDisk, signal: AbortSignal): Promise<void> {
  const answer = await requestJson(socket, 'GET', '/api/v1/vm.info', undefined, signal);
  if (answer.status !== 200) throw refused('vm.info', answer);
  const config = isObject(answer.body) ? answer.body['config'] : undefined;
  const disks = isObject(config) ? config['disks'] : undefined;
  const all: readonly unknown[] = Array.isArray(disks) ? disks : [];
  const found = all.find((each) => isObject(each) && each['id'] === id);
  if (!isObject(found)) {
    const ids = all.flatMap((each) => (isObject(each) && typeof each['id'] === 'string' ? [each['id']] : []));
    throw new CoppiceError(
      'not_found',
      `the machine has no disk ${id}; it has ${ids.slice(0, 10).join(', ').slice(0, 500) || 'none'}.`,
    );
  }
  const { path } = found;
  // Without being sure that it is this disk, another could lose its end.
  if (typeof path === 'string' && fitsPath(path, disk.path) === 'same') return;
  throw new CoppiceError(
    'invalid_argument',
    `the disk ${id} of the machine is ${typeof path === 'string' ? path : 'no file'}, and not ${disk.path}.`,
  );
}

function refused(what: string, answer: HttpAnswer): CoppiceError {
  return refusedBy('cloud-hypervisor', what, answer, describe(answer.body));
}

/** Not in its definition: it sends a list of causes. */
function describe(body: unknown): string {
  return Array.isArray(body) ? body.filter((each) => typeof each === 'string').join(': ') : '';
}
