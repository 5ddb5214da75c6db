import { closeSync, constants, openSync } from 'node:fs';
import { relative } from 'node:path';
import { Descriptor, descriptorPath } from '../../linux/files.ts';
import { blockedBy, CoppiceError } from '../../model/errors.ts';
import { isName, type Name, parseVolumeName } from '../../model/names.ts';
import { lookAtTree } from '../adoption/tree/look.ts';
import { compareAgain, makeFromTree } from '../adoption/tree/make.ts';
import type { AdoptTreeOptions, TreeAdopted } from '../adoption/tree/request.ts';
import { beside, swap } from '../adoption/tree/swap.ts';
import { type Source, usersOf, warningsOf, wayOf } from '../adoption/tree/way.ts';
import { requireCapability } from '../capabilities.ts';
import type { Context } from '../context.ts';
import type { Control } from '../control.ts';
import { holdVolume } from '../holding.ts';
import { isWithin } from '../host-files.ts';
import { contentOf, openSpot, type Spot } from '../placing/spot.ts';
import { checkDirectories } from './create.ts';

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
      : await makeFromTree(context, source, look, { name, method: way.method, options }, control);
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
