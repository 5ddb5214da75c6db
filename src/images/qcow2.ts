import { fstatSync, readSync } from 'node:fs';
import { lastLine } from '../linux/programs.ts';
import { badDisk, CoppiceError } from '../model/errors.ts';
import { type ImageFormat, qcow2Magic } from './format.ts';
import { runInSandbox } from './sandbox.ts';

/**
 * A qcow2 image is somebody else's data. Its header is read here first, because qemu would follow what it names: a backing file
 * or an external data file is a path on this host. Then qemu-img checks and converts it where it can reach nothing else.
 * Offsets: docs/interop/qcow2.txt of QEMU.
 */

const incompatible = { dirty: 1n, corrupt: 2n, externalData: 4n, compressionType: 8n, extendedEntries: 16n };
const known = Object.values(incompatible).reduce((all, bit) => all | bit);

export interface Qcow2Header {
  /** The size in bytes of the disk inside. */
  readonly bytes: number;
  /** How many snapshots the image has inside, beside its present state. */
  readonly snapshots: number;
}

/** @throws CoppiceError invalid_image */
export function readQcow2Header(fd: number, path: string): Qcow2Header {
  const header = Buffer.alloc(104);
  const length = readSync(fd, header, 0, header.length, 0);
  const refuse = (why: string): CoppiceError =>
    new CoppiceError('invalid_image', `${path} can't be imported: ${why}.`);
  if (length < 72) throw refuse('it ends in the middle of its header');
  const version = header.readUInt32BE(4);
  if (version !== 2 && version !== 3) throw refuse(`qcow2 version ${version} is unknown`);
  if (header.readBigUInt64BE(8) !== 0n) {
    throw refuse(
      'it has a backing file, which would be read from this host; flatten it first with "qemu-img convert"',
    );
  }
  const clusterBits = header.readUInt32BE(20);
  if (clusterBits < 9 || clusterBits > 21) throw refuse('its cluster size is out of range');
  if (header.readUInt32BE(32) !== 0) throw refuse('it is encrypted');
  if (version === 3) {
    if (length < 104) throw refuse('it ends in the middle of its header');
    const features = header.readBigUInt64BE(72);
    if (features & incompatible.externalData)
      throw refuse('it keeps its data in an external file, which would be read from this host');
    if (features & incompatible.corrupt)
      throw refuse('it is marked corrupt; repair it first with "qemu-img check -r all"');
    if (features & ~known) throw refuse('it uses features that are unknown');
  }
  const bytes = header.readBigUInt64BE(24);
  if (bytes > 2n ** 53n - 4096n) throw refuse('its size is over 8 PiB');
  if (header.readBigUInt64BE(40) + BigInt(header.readUInt32BE(36)) * 8n > BigInt(fstatSync(fd).size)) {
    throw refuse('it is truncated');
  }
  return { bytes: Number(bytes), snapshots: header.readUInt32BE(60) };
}

/** The name of the file that an image is based on, as its header has it: only to be told, never to be opened. */
export function backingFileOf(fd: number): string | undefined {
  const header = Buffer.alloc(20);
  if (readSync(fd, header, 0, header.length, 0) < header.length) return undefined;
  const [offset, longest, largestCluster] = [header.readBigUInt64BE(8), 1023, 2n ** 21n];
  if (header.toString('latin1', 0, 4) !== qcow2Magic || offset === 0n || offset > largestCluster)
    return undefined;
  const name = Buffer.alloc(Math.min(header.readUInt32BE(16), longest));
  const length = readSync(fd, name, 0, name.length, Number(offset));
  return name.toString('utf8', 0, length);
}

/** Checks a whole image, and says how many bytes its data will take. @throws CoppiceError invalid_image when it is damaged */
export async function checkQcow2(
  source: number,
  path: string,
  bytes: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  const check = await runInSandbox(['check', '-q', '-f', 'qcow2', '/proc/self/fd/3'], [source], { signal });
  // 3: clusters that nothing uses; they take space and harm nobody.
  if (check.code !== 0 && check.code !== 3) {
    throw new CoppiceError(
      'invalid_image',
      `${path} is damaged or truncated: ${lastLine(check.errors) || lastLine(check.output)}.`,
    );
  }
  const { required, fullyAllocated } = await measure(source, 'qcow2', path, signal);
  // Both contain the tables of a qcow2, which for a large disk are large and which raw has not.
  return Math.max(0, required - (fullyAllocated - bytes));
}

/** How many bytes the qcow2 image of a raw disk will take. */
export async function measureAsQcow2(
  source: number,
  path: string,
  signal: AbortSignal | undefined,
): Promise<number> {
  return (await measure(source, 'raw', path, signal)).required;
}

/** Always as if for a qcow2: for raw, qemu answers with the size of the whole disk, holes included. */
async function measure(
  source: number,
  format: ImageFormat,
  path: string,
  signal: AbortSignal | undefined,
): Promise<{ readonly required: number; readonly fullyAllocated: number }> {
  const args = ['measure', '-f', format, '-O', 'qcow2', '--output', 'json', '/proc/self/fd/3'];
  const { code, output, errors } = await runInSandbox(args, [source], { signal });
  const required = /"required":\s*(\d+)/.exec(output)?.[1];
  const fullyAllocated = /"fully-allocated":\s*(\d+)/.exec(output)?.[1];
  if (code === 0 && required !== undefined && fullyAllocated !== undefined)
    return { required: Number(required), fullyAllocated: Number(fullyAllocated) };
  throw new CoppiceError('invalid_image', `${path} can't be measured: ${lastLine(errors)}.`);
}

/** Writes the data of an image that was checked. @throws CoppiceError io_error, no_space */
export async function convertQcow2(
  source: number,
  target: number,
  path: string,
  onFraction: (fraction: number) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  const args = [
    'convert',
    '-p',
    '-f',
    'qcow2',
    '-O',
    'raw',
    '-n',
    '--target-is-zero',
    '/proc/self/fd/3',
    '/proc/self/fd/4',
  ];
  const conversion = await runInSandbox(args, [source, target], {
    signal,
    onOutput: (text) => {
      const fraction = fractionIn(text);
      if (fraction !== undefined) onFraction(fraction);
    },
  });
  if (conversion.code !== 0) {
    // qemu says the same of data that can't be unpacked, which its check does not look at.
    if (isBadDisk(conversion.errors)) {
      throw new CoppiceError(
        'io_error',
        `${path} can't be read to its end: it is damaged, or a disk is; fetch it again, and if that does not help look at "dmesg".`,
      );
    }
    const noSpace = isNoSpace(conversion.errors);
    throw new CoppiceError(
      noSpace ? 'no_space' : 'io_error',
      noSpace
        ? `The pool became full while ${path} was imported; make it larger with "coppice pool grow SIZE".`
        : `qemu-img could not convert ${path}: ${lastLine(conversion.errors)}.`,
    );
  }
}

/** Writes a raw disk as a qcow2 image. @throws CoppiceError io_error, no_space */
export async function writeQcow2(
  source: number,
  target: number,
  path: string,
  onFraction: (fraction: number) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  const args = ['convert', '-p', '-f', 'raw', '-O', 'qcow2', '/proc/self/fd/3', '/proc/self/fd/4'];
  const conversion = await runInSandbox(args, [source, target], {
    signal,
    onOutput: (text) => onFraction(fractionIn(text) ?? 0),
  });
  if (conversion.code === 0) return;
  if (isNoSpace(conversion.errors)) throw noSpaceFor(path);
  if (isBadDisk(conversion.errors)) throw badDisk(`qemu-img could not write ${path}`);
  throw new CoppiceError('io_error', `qemu-img could not write ${path}: ${lastLine(conversion.errors)}.`);
}

export function noSpaceFor(path: string, cause?: unknown): CoppiceError {
  return new CoppiceError(
    'no_space',
    `There is not enough space for ${path}; free space there, or export to another directory.`,
    { cause },
  );
}

/** What the C library calls ENOSPC and EDQUOT. */
function isNoSpace(errors: string): boolean {
  return /No space left on device|Disk quota exceeded/.test(errors);
}

/** What the C library calls EIO and EUCLEAN. */
function isBadDisk(errors: string): boolean {
  return /Input\/output error|Structure needs cleaning/.test(errors);
}

function fractionIn(text: string): number | undefined {
  const percent = /\(([\d.]+)\/100%\)[^(]*$/.exec(text)?.[1];
  return percent === undefined ? undefined : Number(percent) / 100;
}
