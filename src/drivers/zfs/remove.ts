import { hasErrno } from '../../linux/system-calls.ts';
import {
  datasetExists,
  destroyDataset,
  destroySnapshots,
  forgetSinceSnapshot,
  promoteDataset,
  renameDataset,
} from '../../linux/zfs-core.ts';
import { ZfsError } from '../../linux/zfs-error.ts';
import { sleep, waitForLink } from '../../linux/zvol.ts';
import { CoppiceError } from '../../model/errors.ts';
import { branchesOf, datasetOf, isStaged, replacedBy } from './branches.ts';
import type { HeldDataset } from './held.ts';
import { isHeld } from './holders.ts';
import { dataOf, entryIdOf, entryOf, isOrigin, lastPart, splitSnapshot } from './layout.ts';
import { propertiesOf } from './look.ts';
import { snapshotsOn } from './look-at-snapshots.ts';
import { describeDataset, nameOf } from './metadata.ts';
import type { Places } from './places.ts';
import { whileUnmounted } from './trees.ts';

/**
 * Destroys what nothing depends on, and of the rest leaves what ZFS needs for the clones that there are. Never promotes a clone of
 * the user's: he could not remove that any more.
 */

/** A snapshot is gone for everybody at once; for its clones ZFS keeps it, until the last of them goes. */
export function removeSnapshot(places: Places, held: HeldDataset): void {
  const { dataset } = held;
  if (dataset === undefined) return;
  held.change();
  destroySnapshotsUnlessBusy([dataset]);
  held.end();
  held.dataset = undefined;
  const [parent] = splitSnapshot(dataset);
  if (parent.startsWith(`${places.layout.branches}/`)) destroyWhenFree(places, parent);
}

/** The snapshot is gone, whether what it was on can be destroyed now or is open: the removal of the volume does that then. */
function destroyWhenFree(places: Places, dataset: string): void {
  try {
    destroyIfUnused(places, dataset);
  } catch (error) {
    const isOpen = error instanceof CoppiceError && error.code === 'blocked';
    if (!isOpen && !hasErrno(error, 'EBUSY')) throw error;
  }
}

export function discard(places: Places, held: HeldDataset): void {
  const { place } = held;
  switch (place.area) {
    case 'staging':
      discardStaged(places, held);
      return;
    case 'tombstones':
      discardTombstone(places, entryOf(places.layout, place), held.isRenamed);
      break;
    case 'snapshots':
      removeSnapshot(places, held);
      return;
    case 'volumes':
      discardVolume(places, held);
      break;
    default:
      throw new Error('a pool is not discarded');
  }
  held.end();
}

function discardVolume(places: Places, held: HeldDataset): void {
  const { dataset } = held;
  if (dataset === undefined) return;
  const change = (): undefined => discardTombstone(places, dataset, false);
  if (places.kindOf(held) === 'tree') whileUnmounted(dataset, change);
  else change();
}

function discardStaged(places: Places, held: HeldDataset): void {
  held.draft = undefined;
  held.draftMetadata = undefined;
  if (held.place.area !== 'staging') return;
  const entry = entryOf(places.layout, held.place);
  const branch = replacedBy(places.layout, held.place.id);
  // Without a volume in its old place the new state is the only one of that name.
  if (branch !== undefined && !settleBranch(places, branch)) return;
  // What is not gone yet must be found again, so the entry goes last.
  if (!destroyTree(places, dataOf(entry)) || !destroyTree(places, entry)) return;
  held.dataset = undefined;
  held.end();
}

/**
 * A volume that was rolled back gets all snapshots that its state descends from: it is promoted within its own line, until what
 * it depends on is none of its former states. Returns whether there is a volume.
 */
function settleBranch(places: Places, branch: string): boolean {
  const name = lastPart(branch);
  const volumeId = name.slice(0, name.lastIndexOf('.'));
  const volume = datasetOf(places.layout, volumeId, branch);
  if (volume === undefined) return false;
  const emptied: string[] = [];
  for (;;) {
    const [origin] = splitSnapshot(propertiesOf(volume, ['origin']).origin ?? '');
    if (!origin.startsWith(`${places.layout.branches}/${volumeId}.`)) break;
    promoteDataset(volume);
    if (origin !== branch) emptied.push(origin);
  }
  for (const former of emptied) destroyWhenFree(places, former);
  awaitLink(volume);
  return true;
}

/** Who starts a machine after a rollback opens the path that he knows: until udev has seen it, that leads to the replaced state. */
function awaitLink(volume: string): void {
  const { volsize, volmode } = propertiesOf(volume, ['volsize', 'volmode']);
  if (volsize === undefined || volmode === 'none') return;
  try {
    waitForLink({ dataset: volume, bytes: Number(volsize) });
  } catch {
    // The rollback has happened all the same; whoever asks for the path is told.
  }
}

function discardTombstone(places: Places, dataset: string, isProbed: boolean): undefined {
  if (!datasetExists(dataset)) return;
  const metadata = describeDataset(places.layout, dataset);
  if (metadata?.type === 'volume') {
    // Each former state is a tombstone of its own, because something else may depend on it for longer.
    const name = nameOf(places.layout, dataset);
    for (const branch of branchesOf(places.layout, metadata.id)) {
      const target = `${places.layout.tombstones}/${name}.${entryOfBranch(branch)}`;
      renameDataset(branch, target);
      destroyTree(places, target, true);
    }
  }
  destroyTree(places, dataset, isProbed);
}

function entryOfBranch(branch: string): string {
  return branch.slice(branch.lastIndexOf('.') + 1);
}

/**
 * Destroys a dataset with its snapshots, and then what was only kept for it. Returns whether it is gone: what has clones stays, and
 * goes with the last of them.
 * @param isProbed udev may have it open for a moment, which is waited for
 */
export function destroyTree(places: Places, dataset: string, isProbed: boolean = false): boolean {
  if (!datasetExists(dataset)) return true;
  const { origin: snapshot = '' } = propertiesOf(dataset, ['origin']);
  const [origin, label] = splitSnapshot(snapshot);
  destroySnapshotsUnlessBusy(snapshotsOn(dataset).map(({ name }) => name));
  if (snapshotsOn(dataset).length > 0) {
    freeLatest(places, dataset, isProbed);
    return false;
  }
  whileProbed([dataset], () => destroyDataset(dataset));
  // Whoever made it may have died before he marked it to go with its clones.
  if (isOrigin(label)) destroySnapshotsUnlessBusy([snapshot]);
  if (origin) destroyIfUnused(places, origin);
  return true;
}

/** Less than this is not worth a transaction group; some KiB seem to be written to every clone. */
const worthFreeing = 128 * 1024;

/**
 * Only the snapshots of what was removed, or is a former state, are needed, and nothing that was written after the last of them.
 * Where that can't be freed now, nothing has failed: somebody has it open, or a bookmark or a quota stands against it.
 */
function freeLatest({ layout }: Places, dataset: string, isProbed: boolean): void {
  if (![layout.tombstones, layout.branches].some((area) => dataset.startsWith(`${area}/`))) return;
  const free = (): void => forgetSinceSnapshot(dataset);
  try {
    const { written = '0' } = propertiesOf(dataset, ['written']);
    if (Number(written) < worthFreeing) return;
    if (isProbed) whileProbed([dataset], free);
    else free();
  } catch (error) {
    const isOpen = error instanceof CoppiceError && error.code === 'blocked';
    if (!isOpen && !(error instanceof ZfsError)) throw error;
  }
}

/** Of what was removed, or is a former state: something that needed it has gone. The snapshots of a former state stay. */
export function destroyIfUnused(places: Places, dataset: string): void {
  const { tombstones, branches } = places.layout;
  const isBranch = dataset.startsWith(`${branches}/`);
  if (!isBranch && !dataset.startsWith(`${tombstones}/`)) return;
  // The state that a rollback is just replacing has no snapshot of itself yet.
  if (isBranch && isStaged(places.layout, dataset)) return;
  if (isBranch && snapshotsOn(dataset).length > 0) {
    freeLatest(places, dataset, true);
    return;
  }
  // Somebody may be at work on it, and will do this himself.
  const lock = isBranch
    ? undefined
    : places.lock({ area: 'tombstones', id: entryIdOf(dataset) }, 'exclusive', false);
  if (!isBranch && !lock) return;
  try {
    destroyTree(places, dataset, true);
  } finally {
    lock?.[Symbol.dispose]();
  }
}

export function destroySnapshotsUnlessBusy(names: readonly string[]): void {
  whileProbed(names, () => destroySnapshots(names));
}

function stillOpen(names: readonly string[], cause: unknown): CoppiceError {
  const what = names.length === 1 ? names[0] : 'one of its snapshots';
  return new CoppiceError(
    'blocked',
    `${what} is open, and ZFS destroys nothing that somebody has open, also not by force; stop what uses it.`,
    { cause },
  );
}

const patience = 10_000;

/**
 * udev opens every new or renamed zvol for a moment, to see what is on it; that is no reason to keep it, so it is waited for. Who
 * has it open for longer than that really has it.
 * @throws ZfsError EBUSY
 */
function whileProbed(names: readonly string[], destroy: () => void): void {
  const until = performance.now() + patience;
  for (let pause = 1; ; pause = Math.min(pause * 2, 50)) {
    try {
      destroy();
      return;
    } catch (error) {
      if (hasErrno(error, 'ENOENT')) return;
      if (!hasErrno(error, 'EBUSY') || performance.now() > until) throw error;
      // Looked for only when it takes longer than a glance.
      if (pause === 16 && isHeld(names)) throw stillOpen(names, error);
    }
    sleep(pause);
  }
}
