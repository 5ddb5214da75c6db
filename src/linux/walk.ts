import { type BigIntStats, closeSync, constants, lstatSync, openSync, readdirSync } from 'node:fs';
import { Descriptor, descriptorPath } from './files.ts';
import { attempt, unlessAbsent } from './system-calls.ts';

/** Something in a directory tree. Names are bytes: nothing says that they are text. */
export interface TreeEntry {
  /** From the root of the tree; empty for that itself. */
  readonly path: Buffer;
  /** A path by which any API reaches it as long as it is the present one, with no link and no mount before its end. */
  readonly reach: Buffer;
  readonly status: BigIntStats;
  /** It lies on another file system or subvolume; nothing in it is told. */
  readonly isForeign: boolean;
}

/** Everything in a directory tree, each directory before what is in it, in the order of the bytes of its names. No link is followed. */
export function* walkTree(root: number): Generator<TreeEntry> {
  const reach = Buffer.from(`${descriptorPath(root)}/.`);
  const status = lstatSync(reach, { bigint: true });
  yield { path: Buffer.alloc(0), reach, status, isForeign: false };
  yield* walkDirectory(root, Buffer.alloc(0), status.dev);
}

function* walkDirectory(directory: number, above: Buffer, device: bigint): Generator<TreeEntry> {
  const names = readdirSync(descriptorPath(directory), { encoding: 'buffer' }).sort(Buffer.compare);
  for (const name of names) {
    const reach = Buffer.concat([Buffer.from(`${descriptorPath(directory)}/`), name]);
    const status = lstatSync(reach, { bigint: true });
    const path = above.length === 0 ? name : Buffer.concat([above, Buffer.from('/'), name]);
    const isForeign = status.dev !== device;
    yield { path, reach, status, isForeign };
    if (!status.isDirectory() || isForeign) continue;
    using below = new Descriptor(
      openSync(reach, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW),
      closeSync,
    );
    yield* walkDirectory(below.fd, path, device);
  }
}

const largestList = 65536;
const list = Buffer.alloc(largestList);
const value = Buffer.alloc(largestList);

/** All extended attributes of something, those with access rules among them. A final link is not followed. */
export function attributesOf(reach: Buffer): ReadonlyMap<string, Buffer> {
  const path = terminated(reach);
  const length = unlessAbsent(
    attempt('llistxattr', 'attributes', path, list, list.length),
    'llistxattr',
    'attributes',
  );
  const names = list.subarray(0, length ?? 0);
  const found = new Map<string, Buffer>();
  for (let start = 0; start < names.length; ) {
    const end = names.indexOf(0, start);
    const name = Buffer.from(names.subarray(start, end + 1));
    const bytes = unlessAbsent(
      attempt('lgetxattr', 'attribute', path, name, value, value.length),
      'lgetxattr',
      'attribute',
    );
    if (bytes !== undefined)
      found.set(name.toString('latin1', 0, name.length - 1), Buffer.from(value.subarray(0, bytes)));
    start = end + 1;
  }
  return found;
}

function terminated(path: Buffer): Buffer {
  return Buffer.concat([path, Buffer.from([0])]);
}
