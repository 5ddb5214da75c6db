import { blockedBy, CoppiceError } from '../../model/errors.ts';
import type { VolumeMetadata } from '../../model/metadata.ts';
import { parseVolumeName } from '../../model/names.ts';
import { requireRoom, type TreePlace } from '../../model/tree-place.ts';
import { openBlockers } from '../blockers.ts';
import type { Context } from '../context.ts';
import { type HeldVolume, holdVolume, requireUnsealed } from '../holding.ts';
import { isWithin } from '../host-files.ts';
import { putBootEntry } from '../placing/boot.ts';
import { requireOwn } from '../placing/own.ts';
import {
  type Placed,
  type PlaceState,
  putInPlace,
  somethingThere,
  stateOf,
  takeFromPlace,
} from '../placing/place.ts';
import { contentOf, openSpot, type Spot } from '../placing/spot.ts';
import { type BootEntry, type BootFiles, hostTurn } from '../pools/boot-entry.ts';
import { requiresMountsFor } from '../pools/mount-unit.ts';

export interface MountOptions extends BootFiles {
  /** A symbolic link instead of a mount: needs no root, and nothing at boot. */
  readonly link?: boolean;
  /** A mount unit of systemd instead of a line in fstab. */
  readonly systemd?: boolean;
  /** False: not mounted again at the next boot. */
  readonly persist?: boolean;
  readonly dryRun?: boolean;
}

export interface TreeMounted {
  readonly volume: string;
  /** Without links on the way. */
  readonly path: string;
  readonly how: TreePlace['how'];
  /** What mounts it at boot, where something has to. */
  readonly boot?: BootEntry;
  /** What a service's unit needs, so that it starts only when the tree is there. */
  readonly requiresMountsFor: string;
}

export interface UnmountOptions extends BootFiles {
  /** Go on although somebody has something open there: he keeps it. */
  readonly force?: boolean;
  readonly dryRun?: boolean;
}

export interface TreeUnmounted {
  readonly volume: string;
  readonly path: string;
}

/**
 * Has a directory tree be where the application wants it: mounted on a directory, or behind a link. Without a directory, makes true
 * again what is recorded. The record comes first, so that a crash at any step leaves what `pool check` tells and the same call mends.
 */
export async function mount(
  context: Context,
  nameText: string,
  directory: string | null,
  options: MountOptions,
): Promise<TreeMounted> {
  const name = parseVolumeName(nameText);
  using volume = holdVolume(context, name, 'exclusive');
  requireTree(volume, `mount ${name}`);
  requireUnsealed(volume, `mount ${name}`);
  requireOwn(context, volume);
  using spot = openSpot(directory ?? recordedPath(volume));
  const at = wantedPlace(context, volume, spot, options, directory === null);
  const placed: Placed = { context, volume, at, files: options };
  using _turn = options.dryRun ? undefined : hostTurn('places');
  const state = stateOf(placed, spot);
  requireFree(at.path, state, volume.metadata.at !== undefined);
  const told = { volume: name, path: at.path, how: at.how, requiresMountsFor: needsOf(context, at) };
  if (options.dryRun) {
    const boot = context.driver.mountAt ? undefined : planned(placed);
    return { ...told, ...(boot && { boot }) };
  }
  const record = state === 'absent' && at.how === 'mount' ? { ...at, made: true as const } : at;
  const { at: before, ...metadata } = volume.metadata;
  if (JSON.stringify(before) !== JSON.stringify(record)) write(context, volume, { ...metadata, at: record });
  try {
    const boot = putInPlace({ ...placed, at: record }, spot, state);
    return { ...told, ...(boot && { boot }) };
  } catch (error) {
    if (!before) takeBack({ ...placed, at: record }, spot, metadata);
    throw error;
  }
}

/** Takes a tree from where it was mounted or linked. What is in it stays in the pool. */
export async function unmount(
  context: Context,
  nameText: string,
  directory: string | null,
  options: UnmountOptions,
): Promise<TreeUnmounted> {
  const name = parseVolumeName(nameText);
  using volume = holdVolume(context, name, 'exclusive');
  requireTree(volume, `unmount ${name}`);
  requireOwn(context, volume);
  const { at, ...metadata } = volume.metadata;
  if (!at) throw new CoppiceError('not_found', `${name} is mounted nowhere outside of the pool.`);
  using spot = openSpotIfAny(at.path);
  if (directory !== null) requireSame(name, directory, at);
  requireNoOriginal(name, at);
  const users = options.force ? [] : openBlockers(context, [volume.held]);
  if (users.length > 0) throw blockedBy(`Could not unmount ${name} from ${at.path}`, users);
  const told = { volume: name, path: at.path };
  if (options.dryRun) return told;
  using _turn = hostTurn('places');
  const placed = { context, volume, at, files: options };
  if (spot) takeFromPlace(placed, spot, options.force ?? false);
  write(context, volume, metadata);
  return told;
}

export function requireTree({ metadata, name }: HeldVolume, action: string): void {
  if (metadata.kind === 'tree') return;
  throw new CoppiceError(
    'unsupported',
    `Could not ${action}: ${name} is a disk and not a directory tree; "coppice path ${name}" says where it is.`,
  );
}

function recordedPath({ name, metadata }: HeldVolume): string {
  if (metadata.at) return metadata.at.path;
  throw new CoppiceError(
    'invalid_argument',
    `Say where ${name} is to be mounted: coppice mount ${name} DIRECTORY.`,
  );
}

function wantedPlace(
  context: Context,
  { name, metadata }: HeldVolume,
  spot: Spot,
  options: MountOptions,
  asRecorded: boolean,
): TreePlace {
  const { at } = metadata;
  const fail = (code: 'invalid_argument' | 'already_exists' | 'permission_denied', why: string): never => {
    throw new CoppiceError(code, `Could not mount ${name} on ${spot.path}: ${why}.`);
  };
  const how = options.link === undefined ? (at?.how ?? 'mount') : options.link ? 'link' : 'mount';
  if (at && (at.path !== spot.path || at.how !== how))
    fail('already_exists', `it is at ${at.path} (${at.how}); "coppice unmount ${name}" takes it from there`);
  if (isWithin(context.path, spot.path)) fail('invalid_argument', 'that lies in the pool itself');
  if (how === 'link' && options.systemd) fail('invalid_argument', 'a link needs nothing at boot');
  if (how === 'link' && context.driver.mountAt)
    fail(
      'invalid_argument',
      `${context.driver.info.name} mounts its trees wherever they shall be; leave out --link`,
    );
  if (how === 'mount' && process.geteuid?.() !== 0)
    fail('permission_denied', 'only root may mount; run it as root, or make a link with --link');
  const boot = bootOf(context, options, how, asRecorded ? at : undefined);
  if (boot !== undefined && boot !== 'systemd' && !spot.isOwn)
    fail(
      'permission_denied',
      'a directory on the way belongs to another user or can be written by one, who could have it mounted elsewhere at boot; choose --link, --systemd, which follows no links, or --no-persist',
    );
  const place: TreePlace = {
    path: spot.path,
    how,
    ...(boot !== undefined && { boot }),
    ...(at?.made && { made: at.made }),
    ...(at?.original !== undefined && { original: at.original }),
    ...(at?.removing && { removing: at.removing }),
  };
  requireRoom(name, metadata.settings, place);
  return place;
}

function bootOf(
  context: Context,
  { systemd, persist }: MountOptions,
  how: TreePlace['how'],
  recorded: TreePlace | undefined,
): TreePlace['boot'] {
  if (how === 'link') return undefined;
  if (context.driver.mountAt) return 'zfs';
  if (systemd) return 'systemd';
  if (persist === false) return undefined;
  return recorded ? recorded.boot : 'fstab';
}

/** @param isRecorded that this volume is to be there: else a link into the pool may be another's */
function requireFree(path: string, state: PlaceState, isRecorded: boolean): void {
  if (state === 'here' || state === 'absent' || state === 'empty') return;
  if (state === 'stale' && isRecorded) return;
  if (state === 'directory') throw somethingThere(path);
  const what = { stale: 'a link', link: 'a link', mount: 'a mount of something else', other: 'a file' }[
    state
  ];
  throw new CoppiceError(
    'already_exists',
    `There is ${what} at ${path}; move it away, or choose another place.`,
  );
}

function planned(placed: Placed): BootEntry | undefined {
  const { context, volume, at } = placed;
  if (at.how === 'link') return undefined;
  return putBootEntry({ ...placed, tree: context.driver.path(volume.held), pool: context.path }, true);
}

function needsOf(context: Context, at: TreePlace): string {
  return requiresMountsFor(at.how === 'link' && context.driver.info.isMounted ? context.path : at.path);
}

export function write(context: Context, volume: Placed['volume'], metadata: VolumeMetadata): void {
  context.driver.write(volume.held, metadata);
  context.driver.commit();
}

/** Nothing was there before this began, and it failed: what of it is there goes. The first error matters more. */
function takeBack(placed: Placed, spot: Spot, metadata: VolumeMetadata): void {
  try {
    if (contentOf(spot) !== 'directory') takeFromPlace(placed, spot, true);
    write(placed.context, placed.volume, metadata);
  } catch {}
}

function requireSame(name: string, directory: string, at: TreePlace): void {
  using given = openSpot(directory);
  if (given.path === at.path) return;
  throw new CoppiceError('not_found', `${name} is not at ${given.path}, but at ${at.path}.`);
}

/** @throws CoppiceError blocked where nothing would be left at a place whose former directory was put aside */
function requireNoOriginal(name: string, at: TreePlace): void {
  if (at.original === undefined) return;
  throw blockedBy(`Could not unmount ${name}`, [
    {
      kind: 'source',
      what: `${at.path} was a directory that ${name} was adopted from, and is kept as ${at.original} beside it`,
      remedy: `put it back with "coppice adopt --kind tree --undo ${at.path}", or remove it with --remove-originals`,
    },
  ]);
}

/** The directory above may be gone, and with it all that was there. */
function openSpotIfAny(path: string): Spot | undefined {
  try {
    return openSpot(path);
  } catch (error) {
    if (error instanceof CoppiceError && error.code === 'not_found') return undefined;
    throw error;
  }
}
