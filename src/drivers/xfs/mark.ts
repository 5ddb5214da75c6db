import {
  readAttribute,
  readAttributeByPath,
  writeAttribute,
  writeAttributeByPath,
} from '../../linux/attributes.ts';
import { closingOnFailure, type Descriptor, descriptorPath, openDirectoryAt } from '../../linux/files.ts';
import { lock } from '../../linux/locks.ts';
import { randomId } from '../../linux/random.ts';
import { CoppiceError } from '../../model/errors.ts';

/**
 * What the data of an entry says of itself: what btrfs knows of each subvolume, and xfs of no file. It is one attribute of the
 * directory that holds the disk, because an immutable file can't be given any.
 */
export interface Mark {
  /** The id of the volume that it belongs to. */
  readonly identity: string;
  /** Tells this data from any other, also of the same volume. */
  readonly uuid: string;
  /** Only of what never changes: its place in the order in which such data was made, and the disk's time of change then. */
  readonly sealed?: { readonly order: bigint; readonly changedAt: number };
}

const attribute = 'user.coppice.volume';

/** Data that was just made for a volume needs no further id. */
export function writeIdentity(entry: number, identity: string): void {
  writeAttributeByPath(dataOf(entry), attribute, identity);
}

/** The mark of a copy of data that has this one. */
export function writeMarkOfCopy(entry: number, original: Mark | undefined, sealed?: Mark['sealed']): void {
  const fields = [original?.identity ?? '-', randomId()];
  if (sealed) fields.push(String(sealed.order), String(sealed.changedAt));
  writeAttributeByPath(dataOf(entry), attribute, fields.join(' '));
}

/** Undefined when the data has lost it, or is none of ours. */
export function readMark(entry: number): Mark | undefined {
  const text = readAttributeByPath(dataOf(entry), attribute)?.toString() ?? '';
  const match = /^(\S+)(?: (\S+)(?: (\d+) (\d+(?:\.\d+)?))?)?$/.exec(text);
  if (match?.[1] === undefined) return undefined;
  const [, identity, uuid = identity, order, changedAt] = match;
  return {
    identity,
    uuid,
    ...(order !== undefined && { sealed: { order: BigInt(order), changedAt: Number(changedAt) } }),
  };
}

/**
 * The next place in the order in which the snapshots of a pool are made: the time, in nanoseconds, unless the clock was set back.
 * @throws CoppiceError busy
 */
export function nextOrder(root: number): bigint {
  using _counter = holdCounter(root);
  const lastAttribute = 'user.coppice.order';
  const text = readAttribute(root, lastAttribute)?.toString() ?? '';
  const last = /^\d+$/.test(text) ? BigInt(text) : 0n;
  const now = BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e6));
  const order = now > last ? now : last + 1n;
  writeAttribute(root, lastAttribute, String(order));
  return order;
}

/**
 * Whoever counts does it alone: else one whose clock is behind could undo the step of one whose clock is ahead, and later snapshots
 * would come before earlier ones. It takes microseconds, unless the process is stopped in them.
 */
function holdCounter(root: number): Descriptor {
  const directory = openDirectoryAt(root, 'volumes');
  return closingOnFailure(directory, () => {
    for (let pause = 1; !lock(directory.fd, 'exclusive', false); pause *= 2) {
      if (pause > 512) throw new CoppiceError('busy', takenCounter);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pause);
    }
    return directory;
  });
}

const takenCounter =
  'The order of the snapshots of this pool is in use by another operation; try again when that has ended.';

function dataOf(entry: number): string {
  return `${descriptorPath(entry)}/data`;
}
