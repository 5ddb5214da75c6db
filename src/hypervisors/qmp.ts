import { connectSocket, LineSocket } from '../linux/unix-socket.ts';
import { CoppiceError } from '../model/errors.ts';
import { formatSize } from '../model/sizes.ts';
import { isObject } from './json.ts';
import type { GrownDisk, Told } from './notify.ts';
import { fitsPath } from './same-disk.ts';
import type { HypervisorTarget } from './target.ts';

type QmpTarget = Extract<HypervisorTarget, { kind: 'qmp' }>;

/**
 * Has QEMU tell its guest the new size (`block_resize`), and asks it afterwards what it has.
 * Commands and answers: https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html
 */
export async function resizeInQemu(target: QmpTarget, disk: GrownDisk, signal: AbortSignal): Promise<Told> {
  using monitor = new Monitor(await connectSocket(target.socket, signal), target.socket);
  await monitor.greet();
  const nodes = await findNodes(monitor, target, disk);
  for (const node of nodes) {
    if (node.bytes > disk.bytes) throw wouldShrink(node, disk);
    await monitor.execute('block_resize', { 'node-name': node.name, size: disk.bytes });
  }
  const now = (await drives(monitor)).filter(({ name }) => nodes.some((node) => node.name === name));
  const reportedBytes = Math.min(...now.map(({ bytes }) => bytes));
  if (now.length !== nodes.length || reportedBytes < disk.bytes) {
    throw new CoppiceError(
      'io_error',
      `QEMU has taken block_resize, but says that the disk has ${formatSize(Number.isFinite(reportedBytes) ? reportedBytes : 0)}.`,
    );
  }
  const names = nodes.map(({ label }) => label).join(', ');
  return { told: `QEMU on ${target.socket}: block_resize of ${names}`, reportedBytes };
}

/** A drive as the machine has it. */
interface Drive {
  /** Of its block node, by which it is resized. */
  readonly name: string;
  /** What a person calls it. */
  readonly label: string;
  /** All that may be meant by a device. */
  readonly names: readonly string[];
  readonly file: string;
  /** The format of the node. */
  readonly driver: string;
  readonly bytes: number;
}

async function findNodes(monitor: Monitor, target: QmpTarget, disk: GrownDisk): Promise<readonly Drive[]> {
  const all = await drives(monitor);
  const { device } = target;
  if (device === undefined) {
    const found = all.filter(({ file }) => fitsPath(file, disk.path) === 'same');
    for (const drive of found) requireRaw(drive);
    if (found.length > 0) return found;
    throw new CoppiceError(
      'not_found',
      `none of the ${all.length} disks of the machine is ${disk.path} (${listed(all.map(({ file }) => file))}); name it: qmp:${target.socket},device=ID.`,
    );
  }
  const drive = all.find(({ names }) => names.includes(device));
  if (!drive) {
    throw new CoppiceError(
      'not_found',
      `the machine has no disk ${device}; it has ${listed(all.map(({ label }) => label))}.`,
    );
  }
  requireRaw(drive);
  if (fitsPath(drive.file, disk.path) === 'another') {
    throw new CoppiceError(
      'invalid_argument',
      `${device} of the machine is ${drive.file}, and not ${disk.path}.`,
    );
  }
  return [drive];
}

/** What passes sizes on as they are. In an image with a format of its own, the size of the file is not that of the disk. */
const transparent = ['raw', 'file', 'host_device', 'throttle', 'copy-on-read'];

function requireRaw({ driver, label }: Drive): void {
  if (transparent.includes(driver)) return;
  throw new CoppiceError(
    'unsupported',
    `${label} of the machine is opened as ${driver}, and not as a raw disk.`,
  );
}

function wouldShrink(drive: Drive, disk: GrownDisk): CoppiceError {
  return new CoppiceError(
    'invalid_argument',
    `${drive.label} of the machine has ${formatSize(drive.bytes)} already, and would be cut to ${formatSize(disk.bytes)}.`,
  );
}

async function drives(monitor: Monitor): Promise<Drive[]> {
  const answer = await monitor.execute('query-block');
  if (!Array.isArray(answer)) throw monitor.unusable('query-block');
  return answer.flatMap((block: unknown): Drive[] => {
    const inserted = isObject(block) ? block['inserted'] : undefined;
    if (!isObject(block) || !isObject(inserted)) return [];
    const image = inserted['image'];
    const bytes = isObject(image) ? image['virtual-size'] : undefined;
    const [name, file, driver] = [inserted['node-name'], inserted['file'], inserted['drv']];
    if (typeof name !== 'string' || typeof file !== 'string' || typeof driver !== 'string') return [];
    if (typeof bytes !== 'number' || !Number.isSafeInteger(bytes) || bytes < 0) return [];
    const [device, path] = [textOf(block['device']), textOf(block['qdev'])];
    // A device with an id of its own lies there in QEMU's tree; a virtio disk is a part of that.
    const id = /^\/machine\/peripheral\/([^/]+)/.exec(path)?.[1] ?? path;
    const names = [device, path, id, name].filter(Boolean);
    return [{ name, label: device || id || name, names, file, driver, bytes }];
  });
}

/** The protocol: one line of JSON each way, with events in between. */
class Monitor implements Disposable {
  readonly #lines: LineSocket;
  readonly #path: string;
  #count = 0;

  constructor(socket: ConstructorParameters<typeof LineSocket>[0], path: string) {
    this.#lines = new LineSocket(socket, path);
    this.#path = path;
  }

  async greet(): Promise<void> {
    const greeting = await this.#lines.json();
    if (!isObject(greeting) || !isObject(greeting['QMP'])) throw this.unusable('greeting');
    await this.execute('qmp_capabilities');
  }

  async execute(command: string, given?: Readonly<Record<string, unknown>>): Promise<unknown> {
    const id = `coppice-${++this.#count}`;
    this.#lines.send(`${JSON.stringify({ execute: command, ...(given && { arguments: given }), id })}\n`);
    for (;;) {
      const answer = await this.#lines.json();
      if (!isObject(answer)) throw this.unusable(command);
      if ('event' in answer || answer['id'] !== id) continue;
      const { error } = answer;
      if (isObject(error)) {
        throw new CoppiceError(
          'io_error',
          `QEMU refused ${command}: ${textOf(error['desc']).slice(0, 300)}.`,
        );
      }
      if ('return' in answer) return answer['return'];
      throw this.unusable(command);
    }
  }

  unusable(what: string): CoppiceError {
    return new CoppiceError('io_error', `What listens on ${this.#path} is no QEMU monitor (${what}).`);
  }

  [Symbol.dispose](): void {
    this.#lines[Symbol.dispose]();
  }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function listed(names: readonly string[]): string {
  return names.slice(0, 10).join(', ').slice(0, 500) || 'none';
}
