import { closeSync, constants, openSync } from 'node:fs';
import { relative } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import type { Held } from '../../drivers/driver.ts';
import { Descriptor, descriptorPath } from '../../linux/files.ts';
import { randomId } from '../../linux/random.ts';
import { walkTree } from '../../linux/walk.ts';
import { type Blocker, blockedBy, CoppiceError } from '../../model/errors.ts';
import type { VolumeMetadata } from '../../model/metadata.ts';
import { isName, type Name, parseVolumeName } from '../../model/names.ts';
import { requireRoom, type TreePlace } from '../../model/tree-place.ts';
import { firstDifference } from '../adoption/tree/compare.ts';
import { copyTree } from '../adoption/tree/copy.ts';
import { fingerprintTree, lookAtTree, type TreeLook } from '../adoption/tree/look.ts';
import { beside, swap } from '../adoption/tree/swap.ts';
import { openTree, type Source, usersOf, warningsOf, wayOf } from '../adoption/tree/way.ts';
import { requireCapability } from '../capabilities.ts';
import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import { beginWork } from '../disk-work.ts';
import { holdVolume } from '../holding.ts';
import { isWithin } from '../host-files.ts';
import { contentOf, openSpot, type Spot } from '../placing/spot.ts';
import { abandon, publish, timestampName } from '../publish.ts';
import { requireSpace } from '../space.ts';
import { timestamp } from '../timestamp.ts';
import { takingLocks } from '../waiting.ts';
import { checkDirectories } from './create.ts';

export interface AdoptTreeOptions {
  /** Of the volume; that of the directory when absent. */
  readonly name?: string;
  /** Directories in it whose files are to be overwritten in place, beside those that are so already. */
  readonly nodatacow?: readonly string[];
  /** Copy what can't share its blocks. */
  readonly copy?: boolean;
  /** Read and compare the data of files also where they share their blocks. */
  readonly verify?: boolean;
  /** Go on although somebody uses it: what he writes from then on is lost, or stays in the original. */
  readonly force?: boolean;
  /** Leave the directory as it is, and put the volume nowhere. */
  readonly keep?: boolean;
  readonly dryRun?: boolean;
}

export interface TreeAdopted {
  readonly volume: string;
  /** Absent in a dry run. */
  readonly id?: string;
  /** The directory, without links on the way. */
  readonly path: string;
  readonly entries: number;
  /** Of all files. */
  readonly bytes: number;
  /** How the volume got its data; `copy` also where only some files did not share their blocks. */
  readonly method: 'snapshot' | 'reflink' | 'copy';
  /** Where the directory is that was there before; the path has become a link to the volume. Absent where it was left alone. */
  readonly original?: string;
  /** It had been adopted before. */
  readonly before?: true;
  /** What stands in the way; only in a dry run, else it is an error. */
  readonly blockers?: readonly Blocker[];
  /** What the volume does not keep, a sentence each. */
  readonly warnings?: readonly string[];
}

/**
 * Makes a volume of a directory with all that is in it, and puts it in its place, in steps of which each can be the last: the volume
 * is made where nobody sees it, and compared; it gets its name and says where it is to be; then a link to it and the directory
 * exchange their names in one step. Whoever looks there finds the directory or the volume, and the directory is kept beside it.
 */
export async function adoptTree(
  context: Context,
  directory: string,
  options: AdoptTreeOptions,
  control: Control,
): Promise<TreeAdopted> {
  requireCapability(context, 'treeVolumes', `adopt ${directory}`);
  using spot = openSpot(directory);
  const name = nameFor(spot, options);
  requirePool(context, spot, options);
  const before = adoptedBefore(context, spot, name);
  if (before === 'done') return { ...(await told(context, name, spot)), before: true };
  using source = openSource(spot);
  control.report({ step: 'looking', fraction: 0 });
  const look = lookAtTree(source.fd, options.nodatacow ?? []);
  const way = wayOf(context, source, look, options, before === 'begun');
  const blockers = [...way.blockers, ...(options.force ? [] : usersOf(spot.path))];
  const warnings = warningsOf(look, way.method);
  const result = {
    volume: name,
    path: spot.path,
    entries: look.entries,
    bytes: look.bytes,
    method: way.method,
    ...(warnings.length > 0 && { warnings }),
  };
  if (options.dryRun) return { ...result, blockers };
  if (blockers.length > 0) throw blockedBy(`Could not adopt ${spot.path}`, blockers);
  const volume =
    before === 'begun'
      ? await compareAgain(context, source, name, control)
      : await make(context, source, look, { name, method: way.method, options }, control);
  if (options.keep) return { ...result, id: volume.id };
  const original = swap(context, source, name, options, look);
  return { ...result, id: volume.id, original };
}

function nameFor({ base }: Spot, { name }: AdoptTreeOptions): Name {
  if (name !== undefined) return parseVolumeName(name);
  if (isName(base)) return base as Name;
  throw new CoppiceError(
    'invalid_argument',
    `${base} can't be the name of a volume; say another with --name.`,
  );
}

function requirePool(context: Context, { path }: Spot, { nodatacow }: AdoptTreeOptions): void {
  const fail = (why: string): CoppiceError =>
    new CoppiceError('invalid_argument', `Could not adopt ${path}: ${why}.`);
  if (context.driver.mountAt || !context.driver.takeTree) {
    throw new CoppiceError(
      'unsupported',
      `Could not adopt ${path}: on ${context.driver.info.name} a tree is a file system of its own; create one with "coppice create NAME --kind tree", copy with "cp -a", then mount it with "coppice mount".`,
    );
  }
  const [top = ''] = relative(context.path, path).split('/', 1);
  // What somebody else has put beside the volumes is his.
  const isInside = isWithin(context.path, path) && !context.driver.foreign().includes(top);
  if (isInside || isWithin(path, context.path)) throw fail('it lies in the pool, or the pool in it');
  if (nodatacow) {
    requireCapability(context, 'nodatacow', `adopt ${path}`);
    checkDirectories(nodatacow, fail);
  }
}

/** What an adoption of this very directory has left under this name. */
function adoptedBefore(context: Context, spot: Spot, name: Name): 'done' | 'begun' | undefined {
  const metadata = context.driver.peek({ area: 'volumes', name });
  if (metadata?.type !== 'volume' || metadata.at?.path !== spot.path) return undefined;
  const content = contentOf(spot);
  if (content === 'link') return 'done';
  return metadata.at.original !== undefined && (content === 'directory' || content === 'empty')
    ? 'begun'
    : undefined;
}

async function told(context: Context, name: Name, spot: Spot): Promise<Omit<TreeAdopted, 'before'>> {
  using volume = holdVolume(context, name, 'shared');
  const { id, at } = volume.metadata;
  const original = at?.original === undefined ? {} : { original: beside(spot, at.original) };
  return { volume: name, id, path: spot.path, entries: 0, bytes: 0, method: 'reflink', ...original };
}

function openSource(spot: Spot): Source {
  const content = contentOf(spot);
  if (content === 'mount') {
    throw blockedBy(`Could not adopt ${spot.path}`, [
      {
        kind: 'mounted',
        what: 'it is where a file system is mounted, and has no name of its own to be put aside by',
        remedy: 'create a tree, copy with "cp -a", and mount that instead',
      },
    ]);
  }
  if (content !== 'directory' && content !== 'empty') {
    throw new CoppiceError(
      content === 'absent' ? 'not_found' : 'invalid_argument',
      `Could not adopt ${spot.path}: ${content === 'absent' ? 'there is nothing' : 'it is no directory'}.`,
    );
  }
  const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
  const path = `${descriptorPath(spot.parent)}/${spot.base}`;
  const opened = new Descriptor(openSync(path, flags), closeSync);
  return { spot, fd: opened.fd, [Symbol.dispose]: () => opened[Symbol.dispose]() };
}

interface Making {
  readonly name: Name;
  readonly method: TreeAdopted['method'];
  readonly options: AdoptTreeOptions;
}

/** Makes the volume, which says where it is to be; nothing is at that place yet. */
async function make(
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
  readonly method: TreeAdopted['method'];
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
async function compareAgain(
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
