import {
  cloneDataset,
  datasetExists,
  destroyDataset,
  renameDataset,
  setProperties,
} from '../../linux/zfs-core.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { Place } from '../driver.ts';
import { replacedBy } from './branches.ts';
import type { HeldDataset } from './held.ts';
import { dataOf, entryOf, lastPart, nameProperty, splitSnapshot } from './layout.ts';
import { childrenOf, propertiesOf } from './look.ts';
import { describing, materialise, originOf, recordsOf, required, taken, takeSnapshot } from './make.ts';
import { cloneMetadata } from './metadata.ts';
import type { Places } from './places.ts';
import { removeSnapshot } from './remove.ts';
import { neverAtBoot, whileUnmounted } from './trees.ts';

/**
 * Gives what is held a new place, in one step. What was only planned is made now: a snapshot and a clone need no other step then,
 * so there is nothing that could be left half made.
 */
export function move(places: Places, held: HeldDataset, to: Place): void {
  switch (to.area) {
    case 'volumes':
      moveToVolumes(places, held, to);
      break;
    case 'snapshots':
      moveToSnapshots(places, held, to);
      break;
    case 'pool':
      throw new CoppiceError('io_error', 'nothing is moved to a pool');
    default:
      moveToTombstones(places, held, to);
  }
  held.place = to;
}

function moveToVolumes(places: Places, held: HeldDataset, to: Extract<Place, { area: 'volumes' }>): void {
  const target = `${places.layout.dataset}/${to.name}`;
  if (datasetExists(target)) throw taken('rename', to.name);
  // From here on nobody else may have it. Of a name that is free others have the lock only for as long as they see that it is, or
  // while they do the same as we; they wait for nobody then.
  const lock = places.lock(to, 'exclusive', true);
  if (!lock) throw new Error('a lock that is waited for is got');
  try {
    // Between the two renames of a rollback whose process has died, the name only seems to be free.
    if (lock.isChanged && places.finishExchange(to.name)) throw taken('rename', to.name);
    if (held.draft?.kind === 'clone' && held.draftMetadata === undefined) {
      cloneTo(places, held, held.draft.source, target);
    } else {
      const from = held.place.area === 'volumes' ? required(held) : materialise(places, held);
      changing(places, held, from, () => {
        renameDataset(from, target);
        return target;
      });
    }
    lock.change();
  } catch (error) {
    lock[Symbol.dispose]();
    throw error;
  }
  forgetWork(places, held);
  held.end();
  held.add(lock);
  held.dataset = target;
}

/** What a staged entry said about the work in it, which is done. Where it can't be taken away, whoever opens the pool next does it. */
function forgetWork(places: Places, held: HeldDataset): void {
  if (held.place.area !== 'staging' || !held.isLocked) return;
  const entry = entryOf(places.layout, held.place);
  try {
    if (datasetExists(entry)) destroyDataset(entry);
  } catch {}
}

/** In one step, which makes it whole: it needs no properties. */
function cloneTo(places: Places, held: HeldDataset, source: HeldDataset, target: string): void {
  const { snapshot } = originOf(places, source);
  const kind = places.kindOf(source);
  cloneDataset(snapshot, target, { ...recordsOf(snapshot, kind), ...places.clonePropertiesFor(kind) });
  held.draft = undefined;
  const { place } = source;
  const volume = place.area === 'snapshots' ? place.volume : source;
  const parent = places.read(volume as HeldDataset);
  if (parent?.type !== 'volume' || volume.place.area !== 'volumes') return;
  held.known = cloneMetadata({
    guid: propertiesOf(target, ['guid']).guid ?? '0',
    created: new Date().toISOString(),
    parent,
    name: volume.place.name,
    snapshot: splitSnapshot(snapshot)[1],
  });
}

function moveToSnapshots(places: Places, held: HeldDataset, to: Extract<Place, { area: 'snapshots' }>): void {
  const { draft } = held;
  if (draft?.kind !== 'snapshot') throw new CoppiceError('io_error', 'only a snapshot becomes one');
  if (places.isOnBranch(to)) throw taken('snapshot', to.name);
  const name = `${required(draft.source)}@${to.name}`;
  takeSnapshot(places, name, held.draftMetadata);
  held.end();
  held.dataset = name;
  held.draft = undefined;
  held.draftMetadata = undefined;
  held.known = undefined;
}

function moveToTombstones(places: Places, held: HeldDataset, to: Extract<Place, { id: string }>): void {
  if (held.place.area === 'snapshots') {
    removeSnapshot(places, held);
    return;
  }
  const target = `${places.layout.tombstones}/${to.id}`;
  // Whoever sweeps must leave it alone as long as we work on it.
  const lock = places.lock(to, 'exclusive', false);
  if (!lock) throw new CoppiceError('busy', `somebody else works on ${target}`);
  const from = held.place.area === 'volumes' ? required(held) : entryOf(places.layout, held.place);
  changing(places, held, from, () => {
    requireNothingBelow(from);
    renameDataset(from, target);
    return undefined;
  });
  held.end();
  held.add(lock);
  held.dataset = target;
  held.isRenamed = true;
}

/** A volume with files must not be mounted while it is moved; a disk is moved as it is. */
function changing(
  places: Places,
  held: HeldDataset,
  dataset: string,
  change: () => string | undefined,
): void {
  const isTree = held.place.area === 'volumes' && places.kindOf(held) === 'tree';
  held.change();
  if (!isTree) {
    change();
    return;
  }
  whileUnmounted(dataset, () => {
    neverAtBoot(dataset);
    return change();
  });
}

/** Datasets below it are somebody else's, and would go with it. @throws CoppiceError blocked */
function requireNothingBelow(dataset: string): void {
  const [below] = childrenOf(dataset);
  if (below === undefined) return;
  throw new CoppiceError(
    'blocked',
    `The dataset ${below} lies below ${dataset} and was not made by Coppice; move it away with "zfs rename" or destroy it.`,
  );
}

/** Puts the staged state in the place of a volume's, which becomes a branch: its snapshots stay where they are. */
export function exchange(places: Places, volume: HeldDataset, staged: HeldDataset): void {
  const metadata = places.read(volume);
  if (metadata?.type !== 'volume' || staged.place.area !== 'staging')
    throw new CoppiceError('damaged', 'the metadata of the volume is gone');
  const name = required(volume);
  const { id } = staged.place;
  const fresh = dataOf(entryOf(places.layout, staged.place));
  const replaced = replacedBy(places.layout, id);
  if (replaced !== undefined) {
    // Back: what took its place has not become anything that others depend on yet.
    changing(places, volume, name, () => {
      renameDataset(name, fresh);
      renameDataset(replaced, name);
      return name;
    });
    staged.dataset = fresh;
    return;
  }
  const branch = `${places.layout.branches}/${metadata.id}.${id}`;
  // It must tell whose it is when it has another name, also where it was cloned in one step.
  setProperties(name, { ...describing(metadata), [nameProperty]: lastPart(name) });
  changing(places, volume, name, () => {
    renameDataset(name, branch);
    try {
      renameDataset(fresh, name);
    } catch (error) {
      renameDataset(branch, name);
      throw error;
    }
    return name;
  });
  staged.dataset = branch;
  staged.known = undefined;
}
