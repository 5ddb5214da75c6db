import type { LockMode } from '../../linux/locks.ts';
import type { NvObject } from '../../linux/nvlist.ts';
import { randomId } from '../../linux/random.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import { datasetExists, renameDataset } from '../../linux/zfs-core.ts';
import type { Metadata, VolumeKind } from '../../model/metadata.ts';
import type { Name } from '../../model/names.ts';
import type { Place } from '../driver.ts';
import { branchesOf, halfExchanged, replacedBy } from './branches.ts';
import { HeldDataset, type Remembered } from './held.ts';
import {
  dataOf,
  entryIdOf,
  type Layout,
  metadataProperty,
  poolProperty,
  splitSnapshot,
  workProperty,
} from './layout.ts';
import { type HeldLock, lockName, takeLock, turnName } from './locks.ts';
import { childrenOf, lookAt, lookAtSnapshot, propertiesOf } from './look.ts';
import { decodeProperty, describe, describeDataset } from './metadata.ts';

/** The host must never look for partitions and file systems in what is a guest's: volmode=dev. */
const volumeProperties: NvObject = { volmode: 2 };

/**
 * At boot all would be mounted: also states that a rollback has replaced, over the present one where they have the same mount point.
 * canmount=noauto: whoever asks for the path has it mounted.
 */
const treeProperties: NvObject = { canmount: 2 };

const remembered = 10_000;

/** Finds, locks and reads what is in a pool. */
export class Places {
  readonly layout: Layout;
  readonly #locks: number;
  /**
   * What was read of volumes for those who only share them. To read a volume takes half as long as to take a snapshot of it; who
   * changes one says so in its lock first. Who has it exclusively always reads.
   */
  readonly #memory = new Map<string, Remembered>();
  #mode: string | undefined;

  constructor(layout: Layout, locks: number) {
    this.layout = layout;
    this.#locks = locks;
  }

  /** What every new volume needs, wherever it is made. */
  propertiesFor(kind: VolumeKind): NvObject {
    return kind === 'block' ? volumeProperties : treeProperties;
  }

  /** What a clone needs that it does not inherit from the dataset of the pool. */
  clonePropertiesFor(kind: VolumeKind): NvObject {
    return kind === 'block' && this.#inheritsMode ? {} : this.propertiesFor(kind);
  }

  /** Whether what is held is a disk or has files; what is not a volume yet is a disk. */
  kindOf(held: HeldDataset): VolumeKind {
    if (held.draft?.kind === 'tree') return 'tree';
    if (held.draft && held.draft.kind !== 'volume') return this.kindOf(held.draft.source);
    const { place } = held;
    const metadata = this.read(place.area === 'snapshots' ? (place.volume as HeldDataset) : held);
    return metadata?.type === 'volume' ? metadata.kind : 'block';
  }

  get #inheritsMode(): boolean {
    this.#mode ??= propertiesOf(this.layout.dataset, ['volmode']).volmode ?? '';
    return this.#mode === 'dev';
  }

  lock(place: Place, mode: LockMode, wait: boolean): HeldLock | undefined {
    return takeLock(this.#locks, lockName(place), mode, wait);
  }

  /** Waits until nobody else takes a snapshot of a dataset. */
  turn(dataset: string): HeldLock {
    const lock = takeLock(this.#locks, turnName(dataset), 'exclusive', true);
    if (!lock) throw new Error('a lock that is waited for is got');
    lock.end();
    return lock;
  }

  hold(place: Place, mode: LockMode, wait: boolean): HeldDataset | 'absent' | 'busy' {
    const lock = this.lock(place, mode, wait);
    if (!lock) return 'busy';
    try {
      const held = this.#open(place, mode, lock);
      if (held) return held;
      if (mode === 'exclusive') lock.end();
      lock[Symbol.dispose]();
      return 'absent';
    } catch (error) {
      lock[Symbol.dispose]();
      throw error;
    }
  }

  /** A place for what is to be made. Most of it is made straight where it belongs, so it has no lock yet. */
  stage(): HeldDataset {
    return new HeldDataset({ area: 'staging', id: randomId() }, undefined);
  }

  /** Locks a staged entry, before there is anything that others could find. */
  claim(staged: HeldDataset): void {
    if (staged.isLocked) return;
    const lock = this.lock(staged.place, 'exclusive', false);
    if (!lock) throw new Error(`somebody has the lock of ${staged.place.area}, whose id is new`);
    staged.add(lock);
  }

  exists(place: Place): boolean {
    if (place.area === 'snapshots') return this.#namesOf(place).some(isSnapshotThere);
    return this.#namesOf(place).some(datasetExists);
  }

  /** Whether a former state of the volume has a snapshot of that name, which the kernel does not know to be the same name. */
  isOnBranch(place: Extract<Place, { area: 'snapshots' }>): boolean {
    const { dataset } = place.volume as HeldDataset;
    return this.#namesOf(place).some((name) => splitSnapshot(name)[0] !== dataset && isSnapshotThere(name));
  }

  read(held: HeldDataset): Metadata | undefined {
    if (held.draftMetadata) return held.draftMetadata;
    held.known ??= this.#read(held) ?? 'nothing';
    return held.known === 'nothing' ? undefined : held.known;
  }

  peek(place: Place): Metadata | undefined {
    if (place.area === 'volumes') return describeDataset(this.layout, `${this.layout.dataset}/${place.name}`);
    if (place.area === 'snapshots') return this.#findSnapshot(place)?.metadata;
    const [entry = '', data = ''] = this.#namesOf(place);
    const found = lookAt(entry);
    if (place.area === 'pool') return decodeProperty(found?.[poolProperty]);
    return decodeProperty(
      found?.[workProperty] ?? lookAt(data)?.[metadataProperty] ?? found?.[metadataProperty],
    );
  }

  listEntries(area: 'staging' | 'tombstones'): string[] {
    const parent = area === 'staging' ? this.layout.staging : this.layout.tombstones;
    return [...new Set(childrenOf(parent).map(entryIdOf))];
  }

  /** All datasets that have snapshots of a volume. */
  lineOf(volume: HeldDataset): readonly string[] {
    const metadata = this.read(volume);
    const main = volume.dataset === undefined ? [] : [volume.dataset];
    return metadata?.type === 'volume' ? [...main, ...this.#knownBranches(volume, metadata.id)] : main;
  }

  #knownBranches(volume: HeldDataset, id: string): readonly string[] {
    const { memory } = volume;
    return memory && memory.metadata === volume.known ? memory.branches : branchesOf(this.layout, id);
  }

  #open(place: Place, mode: LockMode, lock: HeldLock): HeldDataset | undefined {
    switch (place.area) {
      case 'pool':
        return new HeldDataset(place, this.layout.dataset, lock);
      case 'volumes':
        return this.#openVolume(place, mode, lock);
      case 'snapshots': {
        const found = this.#findSnapshot(place);
        if (!found) return undefined;
        const held = new HeldDataset(place, found.dataset, lock);
        held.known = found.metadata ?? 'nothing';
        return held;
      }
      default: {
        const [entry = '', data = ''] = this.#namesOf(place);
        const there = [data, entry].find(datasetExists);
        if (there === undefined) return undefined;
        const replaced = place.area === 'staging' ? replacedBy(this.layout, place.id) : undefined;
        const dataset = replaced ?? there;
        return new HeldDataset(place, dataset, lock);
      }
    }
  }

  #openVolume(
    place: Extract<Place, { area: 'volumes' }>,
    mode: LockMode,
    lock: HeldLock,
  ): HeldDataset | undefined {
    const dataset = `${this.layout.dataset}/${place.name}`;
    const { generation } = lock;
    const memory = mode === 'shared' ? this.#memory.get(dataset) : undefined;
    if (memory?.generation === generation) {
      const held = new HeldDataset(place, dataset, lock);
      held.known = memory.metadata;
      held.memory = memory;
      return held;
    }
    this.#memory.delete(dataset);
    const found = lookAt(dataset);
    if (!found) return this.finishExchange(place.name) ? this.#openVolume(place, mode, lock) : undefined;
    const held = new HeldDataset(place, dataset, lock);
    const metadata = describe(this.layout, dataset, found);
    held.known = metadata ?? 'nothing';
    if (metadata?.type === 'volume' && this.#memory.size < remembered) {
      const branches = branchesOf(this.layout, metadata.id);
      held.memory = { generation, metadata, branches, bytes: undefined };
      this.#memory.set(dataset, held.memory);
    }
    return held;
  }

  /**
   * Between the two renames of a rollback a volume has no dataset of its name. Whoever has the lock of the name and finds it so
   * knows that its process has died, and does the second.
   */
  finishExchange(name: Name): boolean {
    for (const { id, volume } of halfExchanged(this.layout)) {
      if (volume !== name) continue;
      try {
        renameDataset(dataOf(`${this.layout.staging}/${id}`), `${this.layout.dataset}/${name}`);
      } catch (error) {
        // Somebody else who shares the lock has done it.
        if (!hasErrno(error, 'ENOENT', 'EEXIST')) throw error;
      }
      return true;
    }
    return false;
  }

  #read(held: HeldDataset): Metadata | undefined {
    if (held.place.area === 'volumes' || held.place.area === 'snapshots')
      return held.dataset === undefined ? undefined : this.#readDataset(held.dataset);
    return this.peek(held.place);
  }

  #readDataset(dataset: string): Metadata | undefined {
    if (!dataset.includes('@')) return describeDataset(this.layout, dataset);
    return decodeProperty(lookAt(dataset)?.[metadataProperty]);
  }

  #findSnapshot(
    place: Extract<Place, { area: 'snapshots' }>,
  ): { readonly dataset: string; readonly metadata: Metadata | undefined } | undefined {
    for (const dataset of this.#namesOf(place)) {
      const found = lookAtSnapshot(dataset);
      if (found) return { dataset, metadata: decodeProperty(found[metadataProperty]) };
    }
    return undefined;
  }

  /** Every name that what is in a place may have. */
  #namesOf(place: Place): string[] {
    switch (place.area) {
      case 'pool':
        return [this.layout.dataset];
      case 'volumes':
        return [`${this.layout.dataset}/${place.name}`];
      case 'snapshots':
        return this.lineOf(place.volume as HeldDataset).map((dataset) => `${dataset}@${place.name}`);
      default: {
        const entry = `${place.area === 'staging' ? this.layout.staging : this.layout.tombstones}/${place.id}`;
        return [entry, dataOf(entry)];
      }
    }
  }
}

/** Most names that are looked for are free, which costs less to ask than what there is. */
function isSnapshotThere(name: string): boolean {
  return datasetExists(name) && lookAtSnapshot(name) !== undefined;
}
