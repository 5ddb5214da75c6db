import { constants, openSync, readdirSync, statSync } from 'node:fs';
import { qcow2References } from '../../images/qcow2-references.ts';
import { Descriptor, descriptorPath } from '../../linux/files.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import type { Blocker } from '../../model/errors.ts';
import { printable } from '../../model/printable.ts';
import type { Look } from './look.ts';

/** What the qcow2 files of one directory need. */
interface Needs {
  /** The name of who needs a file, by the device and inode number of that. */
  readonly by: ReadonlyMap<string, string>;
  /** Files of which it can't be told what they need, and why. */
  readonly unclear: ReadonlyArray<{ readonly file: string; readonly why: string }>;
}

/**
 * Why files can't be removed: a qcow2 file beside them holds only what was changed of them, or keeps its data in them, or may. What
 * it names is found as qemu would, through links, and told by what it is and not by its name.
 */
export function overlayBlockers<T extends Pick<Look, 'entry' | 'identity'>>(
  disks: readonly T[],
): ReadonlyMap<T, readonly Blocker[]> {
  const needs = new Map<Descriptor, Needs>();
  return new Map(
    disks.map((disk) => {
      const { directory, label } = disk.entry;
      const here = needs.get(directory) ?? needsIn(directory);
      needs.set(directory, here);
      const { identity } = disk;
      const by = identity && here.by.get(keyOf(identity.device, identity.inode));
      const blocker = (why: string): Blocker => ({
        kind: 'source',
        what: `${label} can't be removed, because ${why}`,
        remedy: 'adopt without --remove-originals',
      });
      return [
        disk,
        [
          ...(by === undefined ? [] : [blocker(`${printable(by)} is based on it, and would be lost`)]),
          ...here.unclear.map(({ file, why }) => blocker(`${printable(file)} beside it may need it: ${why}`)),
        ],
      ];
    }),
  );
}

function needsIn(directory: Descriptor): Needs {
  const by = new Map<string, string>();
  const unclear: Array<{ file: string; why: string }> = [];
  const parent = descriptorPath(directory.fd);
  for (const name of readdirSync(parent, { encoding: 'buffer' })) {
    const file = name.toString('utf8');
    const references = referencesOf(Buffer.concat([Buffer.from(`${parent}/`), name]));
    if ('why' in references) unclear.push({ file, why: references.why });
    else {
      for (const reference of references.names) {
        const found = find(parent, reference);
        if (typeof found === 'string') by.set(found, file);
        else unclear.push({ file, why: found.why });
      }
    }
  }
  return { by, unclear };
}

type Unclear = { readonly why: string };

/** Through links too: what an image names is then looked for beside the link. Only a regular file is opened. */
function referencesOf(path: Buffer): { readonly names: readonly string[] } | Unclear {
  const O_PATH = 0o10000000;
  try {
    using seen = new Descriptor(openSync(path, O_PATH));
    if (!statSync(descriptorPath(seen.fd)).isFile()) return { names: [] };
    using file = new Descriptor(openSync(descriptorPath(seen.fd), constants.O_RDONLY | constants.O_NONBLOCK));
    const found = qcow2References(file.fd) ?? [];
    return 'why' in found ? found : { names: found };
  } catch (error) {
    // Gone meanwhile, or a link to nothing.
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return { names: [] };
    return { why: "it can't be read" };
  }
}

/** The device and inode number of what a name in an image stands for. */
function find(parent: string, reference: string): string | Unclear {
  const path = reference.replace(/^file:/, '');
  const told = `it refers to ${printable(reference)}`;
  if (/^[^/]*:/.test(path)) return { why: `${told}, which is not the path of a file` };
  try {
    const { dev, ino } = statSync(path.startsWith('/') ? path : `${parent}/${path}`, { bigint: true });
    return keyOf(dev, ino);
  } catch (error) {
    return { why: `${told}, which ${hasErrno(error, 'ENOENT') ? 'is not there' : "can't be looked at"}` };
  }
}

function keyOf(device: bigint, inode: bigint): string {
  return `${device}:${inode}`;
}
