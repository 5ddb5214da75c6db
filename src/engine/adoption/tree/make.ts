import { setImmediate as turn } from 'node:timers/promises';
import type { Held } from '../../../drivers/driver.ts';
import { randomId } from '../../../linux/random.ts';
import { walkTree } from '../../../linux/walk.ts';
import { blockedBy, CoppiceError } from '../../../model/errors.ts';
import type { VolumeMetadata } from '../../../model/metadata.ts';
import type { Name } from '../../../model/names.ts';
import { requireRoom, type TreePlace } from '../../../model/tree-place.ts';
import type { Context } from '../../context.ts';
import type { Control } from '../../control.ts';
import { beginWork } from '../../disk-work.ts';
import { holdVolume } from '../../holding.ts';
import { abandon, publish, timestampName } from '../../publish.ts';
import { requireSpace } from '../../space.ts';
import { timestamp } from '../../timestamp.ts';
import { takingLocks } from '../../waiting.ts';
import { firstDifference } from './compare.ts';
import { copyTree } from './copy.ts';
import { fingerprintTree, type TreeLook } from './look.ts';
import type { AdoptTreeOptions } from './request.ts';
import { openTree, type Source, type Way } from './way.ts';

interface Making {
  readonly name: Name;
  readonly method: Way['method'];
  readonly options: AdoptTreeOptions;
}

/** Makes the volume, which says where it is to be; nothing is at that place yet. */
export async function makeFromTree(
  context: Context,
  { spot, fd }: Source,
  look: TreeLook,
  { name, method, options }: Making,
  control: Control,
): Promise<VolumeMetadata> {
  const at: TreePlace = {
    path: spot.path,
    how: 'link',
    original: timestampName(`${spot.base}.before-adoption`, new Date()),
  };
  if (!options.keep) {
    requireRoom(name, undefined, at);
    if (Buffer.byteLength(at.original ?? '') > 255)
      throw new CoppiceError(
        'invalid_argument',
        `The name ${spot.base} is too long to be put aside by a longer one.`,
      );
  }
  requireSpace(context, `adopt ${spot.path}`, method === 'copy' ? look.bytes : 0);
  using work = await takingLocks(context, control, `adoption of ${name}`, (open) =>
    beginWork(open, 'adopt', name),
  );
  try {
    const id = randomId();
    if (method === 'snapshot') context.driver.takeTree?.(work, fd, id);
    else await fill(context, work, { fd, id, look, method, verify: options.verify ?? false }, control);
    requireSame(spot.path, fd, look);
    context.driver.writeOut(work);
    control.signal?.throwIfAborted();
    const metadata: VolumeMetadata = {
      type: 'volume',
      id,
      kind: 'tree',
      created: timestamp(),
      origin: [],
      method: 'import',
      ...(!options.keep && { at }),
    };
    context.driver.write(work, metadata);
    publish(context, work, name);
    context.driver.commit();
    return metadata;
  } catch (error) {
    abandon(context, work);
    throw error;
  }
}

interface Filling {
  readonly fd: number;
  readonly id: string;
  readonly look: TreeLook;
  readonly method: Way['method'];
  readonly verify: boolean;
}

async function fill(
  context: Context,
  work: Held,
  { fd, id, look, method, verify }: Filling,
  control: Control,
): Promise<void> {
  context.driver.createTree?.(work, id, {});
  using tree = openTree(context, work);
  control.report({ step: 'copying', fraction: 0 });
  const sharing = method === 'copy' ? 'auto' : 'always';
  await copyTree(
    fd,
    tree.fd,
    { nodatacow: look.nodatacow, sharing },
    () => directoriesIn(fd),
    control.signal,
  );
  // What the directory says of itself has been copied, too.
  context.driver.claimTree?.(work, id);
  await requireEqual(fd, tree.fd, method === 'copy' || verify, look.entries, control);
}

async function requireEqual(
  source: number,
  copy: number,
  contents: boolean,
  entries: number,
  control: Control,
): Promise<void> {
  const difference = await firstDifference(source, copy, contents, async (done) => {
    control.report({ step: 'comparing', fraction: Math.min(1, done / entries) });
    await turn();
    control.signal?.throwIfAborted();
  });
  if (difference === undefined) return;
  throw new CoppiceError(
    'io_error',
    `The copy is not what was copied: ${difference}; either that was changed meanwhile, or one of the file systems can't hold it.`,
  );
}

function* directoriesIn(fd: number): Generator<string> {
  for (const { path, status, isForeign } of walkTree(fd))
    if (status.isDirectory() && !isForeign) yield path.toString('latin1');
}

/** @throws CoppiceError blocked */
function requireSame(path: string, fd: number, look: TreeLook): void {
  if (fingerprintTree(fd) === look.fingerprint) return;
  throw blockedBy(`Could not adopt ${path}`, [
    { kind: 'source', what: 'it was changed meanwhile', remedy: 'stop who writes there, and adopt it again' },
  ]);
}

/** An adoption has died between the naming of the volume and the exchange: since then the directory may have changed. */
export async function compareAgain(
  context: Context,
  { fd, spot }: Source,
  name: Name,
  control: Control,
): Promise<VolumeMetadata> {
  using volume = holdVolume(context, name, 'shared');
  using tree = openTree(context, volume.held);
  const difference = await firstDifference(fd, tree.fd, true, async () => {
    await turn();
    control.signal?.throwIfAborted();
  });
  if (difference === undefined) return volume.metadata;
  throw new CoppiceError(
    'already_exists',
    `${name} was made from ${spot.path} by an adoption that ended early, and since then they differ: ${difference}; "coppice adopt --kind tree --undo ${spot.path}" has that forgotten, then remove or rename ${name}.`,
  );
}
