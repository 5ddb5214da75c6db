import { readSync } from 'node:fs';
import { qcow2Magic } from './format.ts';

/**
 * What a qcow2 image refers to, as qemu would read it: only to find what must not be removed, never to be opened.
 * Offsets: docs/interop/qcow2.txt of QEMU.
 */

const externalData = 4n;
const knownFeatures = 0x1fn;
const externalDataName = 0x44415441;
const longestName = 1023;
const largestCluster = 2 ** 21;

/** The names in the header of a qcow2 image, or why they can't be told; undefined for what is no qcow2 image. */
export function qcow2References(fd: number): readonly string[] | { readonly why: string } | undefined {
  const header = Buffer.alloc(104);
  const length = readSync(fd, header, 0, header.length, 0);
  if (header.toString('latin1', 0, 4) !== qcow2Magic) return undefined;
  const version = header.readUInt32BE(4);
  if (version !== 2 && version !== 3) return { why: `qcow2 version ${version} is unknown` };
  if (length < (version === 2 ? 72 : 104)) return { why: 'it ends in the middle of its header' };
  const features = version === 2 ? 0n : header.readBigUInt64BE(72);
  if (features & ~knownFeatures) return { why: 'it uses features that are unknown' };
  const found: Array<string | undefined> = [];
  const backingOffset = header.readBigUInt64BE(8);
  if (backingOffset !== 0n) found.push(readName(fd, Number(backingOffset), header.readUInt32BE(16)));
  const dataNames = extensionsAt(fd, version === 2 ? 72 : header.readUInt32BE(100));
  if (dataNames === undefined) return { why: 'its header is damaged' };
  if (features & externalData && dataNames.length === 0)
    return { why: 'its data lies in a file that it does not name' };
  for (const { offset, bytes } of dataNames) found.push(readName(fd, offset, bytes));
  const names = found.filter((name) => name !== undefined);
  return names.length === found.length ? names : { why: "a name in its header can't be read" };
}

/** Where the names of external data files lie; undefined when the list of extensions has no end. */
function extensionsAt(
  fd: number,
  start: number,
): ReadonlyArray<{ readonly offset: number; readonly bytes: number }> | undefined {
  const names: Array<{ offset: number; bytes: number }> = [];
  const head = Buffer.alloc(8);
  for (let offset = start; offset < largestCluster; ) {
    if (readSync(fd, head, 0, head.length, offset) < head.length) return undefined;
    const [type, bytes] = [head.readUInt32BE(0), head.readUInt32BE(4)];
    if (type === 0) return names;
    if (type === externalDataName) names.push({ offset: offset + 8, bytes });
    offset += 8 + Math.ceil(bytes / 8) * 8;
  }
  return undefined;
}

function readName(fd: number, offset: number, bytes: number): string | undefined {
  if (bytes === 0 || bytes > longestName || offset > largestCluster) return undefined;
  const name = Buffer.alloc(bytes);
  if (readSync(fd, name, 0, bytes, offset) < bytes || name.includes(0)) return undefined;
  const text = name.toString('utf8');
  return Buffer.from(text).equals(name) ? text : undefined;
}
