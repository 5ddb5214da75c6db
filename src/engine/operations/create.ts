import type { TreeOptions } from '../../drivers/driver.ts';
import { accountOf } from '../../linux/accounts.ts';
import { randomId } from '../../linux/random.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { VolumeKind, VolumeMetadata } from '../../model/metadata.ts';
import { parseVolumeName } from '../../model/names.ts';
import { checkSize, formatSize, roundSize } from '../../model/sizes.ts';
import { requireCapability } from '../capabilities.ts';
import type { Context } from '../context.ts';
import { somethingThere } from '../placing/place.ts';
import { contentOf, openSpot } from '../placing/spot.ts';
import { publish, requireFree, staging } from '../publish.ts';
import { type Marked, requestMark } from '../request-mark.ts';
import { requireSpace } from '../space.ts';
import { timestamp } from '../timestamp.ts';
import type { MountOptions, TreeMounted } from './mount.ts';

export interface CreateOptions extends Marked {
  /** A disk when absent. */
  readonly kind?: VolumeKind;
  /** Bytes of a disk, which it needs; rounded up to 4 KiB, on zfs to 16 KiB. A directory tree has no size. */
  readonly bytes?: number;
  /** The size of the blocks that the disk is kept in, in bytes, where the pool lets it be chosen. */
  readonly blockBytes?: number;
  /**
   * Only of a directory tree on btrfs: directories to make in it whose files are overwritten in place. They have no checksums and no
   * compression, and each block is copied once after each snapshot.
   */
  readonly nodatacow?: readonly string[];
  /** Only of a directory tree: `USER[:GROUP]` to whom it belongs, each a name or a number; whoever makes it when absent. */
  readonly owner?: string;
  /** Only of a directory tree: its mode, such as 0o700; 0o755 when absent. */
  readonly mode?: number;
  /** Only of a directory tree: where it is to be. */
  readonly at?: { readonly directory: string } & Omit<MountOptions, 'dryRun'>;
}

export interface Created {
  readonly name: string;
  readonly id: string;
  /** Of the disk; 0 for a directory tree. */
  readonly bytes: number;
  /** ISO 8601, UTC. */
  readonly created: string;
  /** The size that was asked for, where it had to be rounded up. */
  readonly roundedFrom?: number;
  /** Where a directory tree is, where that was asked for. */
  readonly mounted?: TreeMounted;
}

/** Makes an empty volume: a disk, or a directory tree. It takes no space until something is written to it. */
export function create(context: Context, nameText: string, options: CreateOptions): Created {
  const name = parseVolumeName(nameText);
  const asked = askedSize(name, options);
  const kind = asked === undefined ? 'tree' : 'block';
  if (kind === 'tree') requireCapability(context, 'treeVolumes', `create ${name}`);
  requireBlockSize(context, name, kind, options.blockBytes);
  if (options.nodatacow?.length) requireCapability(context, 'nodatacow', `create ${name}`);
  const unit = Math.max(context.driver.info.sizeUnit, options.blockBytes ?? 0);
  const tree = treeOptions(options);
  const mark = requestMark(options);
  const bytes = asked === undefined ? 0 : roundSize(checkSize(asked), unit);
  if (options.at) requireFreePlace(options.at.directory);
  requireFree(context, name);
  requireSpace(context, `create ${name}`, 0);
  return staging(context, (staged) => {
    const id = randomId();
    if (kind === 'tree') context.driver.createTree?.(staged, id, tree);
    else context.driver.create(staged, bytes, id, options.blockBytes);
    const metadata: VolumeMetadata = {
      type: 'volume',
      id,
      kind,
      created: timestamp(),
      origin: [],
      method: 'create',
      ...mark,
    };
    context.driver.write(staged, metadata);
    publish(context, staged, name);
    const { created } = metadata;
    return {
      name,
      id,
      bytes,
      created,
      ...(asked !== undefined && bytes !== asked && { roundedFrom: asked }),
    };
  });
}

/** The size of a disk; undefined for a directory tree. @throws CoppiceError invalid_argument */
function askedSize(name: string, options: CreateOptions): number | undefined {
  const { kind = 'block', bytes, nodatacow, owner, mode } = options;
  const fail = (why: string): CoppiceError =>
    new CoppiceError('invalid_argument', `Could not create ${name}: ${why}.`);
  if (!['block', 'tree'].includes(kind))
    throw fail(`there is no kind of volume "${kind}"; it is "block" or "tree"`);
  if (kind === 'block' && bytes === undefined) throw fail('say how large the disk is to be');
  if (kind === 'tree' && bytes !== undefined) throw fail('a directory tree has no size; leave it out');
  if (kind === 'block' && nodatacow !== undefined)
    throw fail('only directories of a tree can be made nodatacow; leave it out');
  if (kind === 'block' && (owner !== undefined || mode !== undefined || options.at))
    throw fail('only a directory tree has an owner, a mode and a place of its own; leave them out');
  if (mode !== undefined && !(Number.isInteger(mode) && mode >= 0 && mode <= 0o7777))
    throw fail(`${mode} is no mode of a directory, such as 0700`);
  if (nodatacow) checkDirectories(nodatacow, fail);
  return bytes;
}

/** Paths from the tree, which can't lead out of it. */
export function checkDirectories(paths: readonly string[], fail: (why: string) => CoppiceError): void {
  for (const path of paths) {
    const isInside = path.split('/').every((name) => !['', '.', '..'].includes(name) && name.length < 256);
    if (!isInside || path.includes('\0') || path.length > 1024)
      throw fail(`"${path}" must be a directory in the tree, such as postgres or var/lib/postgres`);
  }
}

function treeOptions({ nodatacow, blockBytes, owner, mode }: CreateOptions): TreeOptions {
  return {
    ...(nodatacow && { nodatacow }),
    ...(blockBytes !== undefined && { blockBytes }),
    ...(owner !== undefined && { owner: accountOf(owner) }),
    ...(mode !== undefined && { mode }),
  };
}

/** A volume that can't be where it is to be need not be made; who mounts it looks again. */
function requireFreePlace(directory: string): void {
  using spot = openSpot(directory);
  if (['absent', 'empty'].includes(contentOf(spot))) return;
  throw somethingThere(spot.path);
}

/** @throws CoppiceError unsupported, invalid_argument */
function requireBlockSize(
  context: Context,
  name: string,
  kind: VolumeKind,
  blockBytes: number | undefined,
): void {
  if (blockBytes === undefined) return;
  const { blockSizes: ofDisks, treeBlockSizes, name: driver } = context.driver.info;
  const blockSizes = kind === 'tree' ? treeBlockSizes : ofDisks;
  if (!blockSizes) {
    throw new CoppiceError(
      'unsupported',
      `Could not create ${name}: on ${driver} a ${kind === 'tree' ? 'directory tree' : 'disk'} has no block size of its own; leave it out.`,
    );
  }
  if (blockSizes.includes(blockBytes)) return;
  const sizes = [...blockSizes].sort((a, b) => a - b).map(formatSize);
  throw new CoppiceError(
    'invalid_argument',
    `Could not create ${name}: ${formatSize(blockBytes)} is no block size; choose one of ${sizes.join(', ')}.`,
  );
}
