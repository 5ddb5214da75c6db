import { fsyncSync } from 'node:fs';
import type { NvObject } from '../../linux/nvlist.ts';
import { randomId } from '../../linux/random.ts';
import { hasErrno, SystemError } from '../../linux/system-calls.ts';
import {
  cloneDataset,
  createFileSystem,
  createZvol,
  datasetExists,
  promoteDataset,
  renameDataset,
  takeSnapshots,
} from '../../linux/zfs-core.ts';
import { openZvol } from '../../linux/zvol.ts';
import { CoppiceError } from '../../model/errors.ts';
import type { Metadata, VolumeKind } from '../../model/metadata.ts';
import { runZfs } from './command.ts';
import type { Draft, HeldDataset } from './held.ts';
import {
  dataOf,
  entryOf,
  metadataProperty,
  originSnapshot,
  splitSnapshot,
  templateSnapshot,
} from './layout.ts';
import { lookAtSnapshot, propertiesOf } from './look.ts';
import { encodeProperty } from './metadata.ts';
import type { Places } from './places.ts';
import { destroySnapshotsUnlessBusy } from './remove.ts';

/** 16 KiB is what OpenZFS itself takes since 2.2: large enough to compress well, small enough for a guest's random writes. */
export const defaultBlockBytes: number = 16 * 1024;

const readOnly: NvObject = { readonly: 1 };

/** Properties of a dataset that has no files. */
export const withoutFiles: NvObject = { canmount: 0, mountpoint: 'none' };

export function describing(metadata: Metadata | undefined): Readonly<Record<string, string>> {
  return metadata ? { [metadataProperty]: encodeProperty(metadata) } : {};
}

/** What a clone is made from: of something that still changes, a snapshot taken now, which goes with its last clone. */
export function fixed<T>(places: Places, source: HeldDataset, use: (snapshot: string) => T): T {
  const dataset = required(source);
  if (dataset.includes('@')) return use(dataset);
  const snapshot = `${dataset}@${originSnapshot(randomId())}`;
  takeFlushed(places, new Map([[snapshot, {}]]));
  try {
    return use(snapshot);
  } finally {
    destroySnapshotsUnlessBusy([snapshot]);
  }
}

/** What a clone of a volume or template is made from. */
export function originOf(
  places: Places,
  source: HeldDataset,
): { readonly snapshot: string; readonly isFixed: boolean } {
  const dataset = required(source);
  if (dataset.includes('@')) return { snapshot: dataset, isFixed: true };
  const metadata = places.read(source);
  const isTemplate = metadata?.type === 'volume' && metadata.sealed !== undefined;
  return { snapshot: `${dataset}@${templateSnapshot}`, isFixed: isTemplate };
}

/**
 * Makes the data of a staged entry, where it can be opened before anybody else sees it.
 * @returns the dataset
 */
export function materialise(places: Places, staged: HeldDataset): string {
  const { draft } = staged;
  if (!draft) return required(staged);
  const name = dataOf(entryOf(places.layout, staged.place));
  places.claim(staged);
  makeDraft(places, draft, name, staged.draftMetadata);
  staged.dataset = name;
  staged.draft = undefined;
  staged.draftMetadata = undefined;
  staged.known = undefined;
  return name;
}

function makeDraft(places: Places, draft: Draft, name: string, metadata: Metadata | undefined): void {
  const kind =
    draft.kind === 'volume' ? 'block' : draft.kind === 'tree' ? 'tree' : places.kindOf(draft.source);
  const properties = { ...places.propertiesFor(kind), ...describing(metadata) };
  switch (draft.kind) {
    case 'volume':
      createZvol(name, draft.bytes, { volblocksize: draft.blockBytes ?? defaultBlockBytes, ...properties });
      return;
    case 'tree':
      createFileSystem(name, {
        ...(draft.blockBytes !== undefined && { recordsize: draft.blockBytes }),
        ...properties,
      });
      return;
    case 'clone':
      cloneOf(places, draft.source, (snapshot) =>
        cloneDataset(snapshot, name, { ...recordsOf(snapshot, kind), ...properties }),
      );
      if (draft.bytes !== undefined) runZfs('zfs', ['set', `volsize=${draft.bytes}`, name]);
      return;
    case 'snapshot':
      sealInto(places, draft.source, name, properties);
      return;
  }
}

/** A clone of files gets the size of its records from the dataset of the pool, and not from what it is a clone of. */
export function recordsOf(snapshot: string, kind: VolumeKind): NvObject {
  if (kind === 'block') return {};
  const [dataset] = splitSnapshot(snapshot);
  const { recordsize } = propertiesOf(dataset, ['recordsize']);
  return recordsize === undefined ? {} : { recordsize: Number(recordsize) };
}

function cloneOf(places: Places, source: HeldDataset, use: (snapshot: string) => void): void {
  const { snapshot, isFixed } = originOf(places, source);
  if (isFixed) use(snapshot);
  else fixed(places, source, use);
}

/**
 * A copy that nobody can write to, with the snapshot that clones of it are made from. Where it is made from what was staged, it
 * becomes the one that has the blocks, so that the other can go.
 */
function sealInto(places: Places, source: HeldDataset, name: string, properties: NvObject): void {
  const isStaged = source.place.area === 'staging';
  if (isStaged) {
    const snapshot = `${required(source)}@${templateSnapshot}`;
    // Who has filled it has closed it, but udev may have it open, and then that did not write out everything.
    takeFlushed(places, new Map([[snapshot, {}]]));
    cloneDataset(snapshot, name, {
      ...recordsOf(snapshot, places.kindOf(source)),
      ...properties,
      ...readOnly,
    });
    promoteDataset(name);
    return;
  }
  cloneOf(places, source, (snapshot) =>
    cloneDataset(snapshot, name, {
      ...recordsOf(snapshot, places.kindOf(source)),
      ...properties,
      ...readOnly,
    }),
  );
  takeSnapshots(new Map([[`${name}@${templateSnapshot}`, {}]]));
}

/** Takes a snapshot under a name. @throws ZfsError EEXIST when it is taken */
export function takeSnapshot(places: Places, name: string, metadata: Metadata | undefined): void {
  takeAllFlushed(places, new Map([[name, describing(metadata)]]));
}

type Wanted = ReadonlyMap<string, Readonly<Record<string, string>>>;

/** The same of several at the same instant, all or none. */
export function takeAllFlushed(places: Places, wanted: Wanted): void {
  try {
    takeFlushed(places, wanted);
  } catch (error) {
    if (!hasErrno(error, 'EEXIST')) throw error;
    const aside = [...wanted.keys()].filter((name) => stepAside(places, name));
    if (aside.length === 0) throw error;
    takeFlushed(places, wanted);
  }
}

/**
 * Who has a zvol open has written into the page cache of its device, perhaps; the last who closes it waits for that. So the device
 * is opened only where somebody has it open: to look takes less.
 */
function takeFlushed(places: Places, wanted: Wanted): void {
  const open = takeSnapshots(wanted, true);
  if (open.length === 0) return;
  // It would all be written out for nothing.
  for (const name of wanted.keys()) if (datasetExists(name)) throw taken('snapshot', name);
  using _turns = takeTurns(places, [...wanted.keys()]);
  for (const dataset of open) {
    const { volsize } = propertiesOf(dataset, ['volsize']);
    // A directory tree is open as long as it is mounted, and the engine has had it written out.
    if (volsize === undefined) continue;
    using device = openZvol({ dataset, bytes: Number(volsize) }, 'read');
    fsyncSync(device.fd);
  }
  takeSnapshots(wanted);
}

/**
 * There is one snapshot of a volume in each transaction group, and who flushes it has it open, so that the next would have to flush
 * it, too, and again: those who want one of what is open at the same time come one after the other.
 */
function takeTurns(places: Places, snapshots: readonly string[]): DisposableStack {
  const turns = new DisposableStack();
  // All in the same order, so that nobody waits for who waits for him.
  for (const dataset of new Set(snapshots.map((name) => splitSnapshot(name)[0]).sort()))
    turns.use(places.turn(dataset));
  return turns;
}

/** Gives a snapshot that was removed, and that ZFS keeps for its clones, another name. Returns false when it was not removed. */
function stepAside(places: Places, name: string): boolean {
  const [dataset] = splitSnapshot(name);
  // Between the look and the renaming somebody else could do the same, and take a snapshot of that name, which would be renamed.
  using _turn = places.turn(dataset);
  if (!datasetExists(name) || lookAtSnapshot(name)) return false;
  try {
    renameDataset(name, `${dataset}@coppice:removed-${randomId()}`);
  } catch (error) {
    // Its last clone has gone just now.
    if (!hasErrno(error, 'ENOENT')) throw error;
  }
  return true;
}

/** The dataset of a staged entry, which has only properties. */
export function makeEntry(places: Places, staged: HeldDataset, property: string, metadata: Metadata): void {
  places.claim(staged);
  createFileSystem(entryOf(places.layout, staged.place), {
    ...withoutFiles,
    [property]: encodeProperty(metadata),
  });
}

export function required(held: HeldDataset): string {
  if (held.dataset !== undefined) return held.dataset;
  throw new CoppiceError('damaged', 'The data of this volume is gone; "coppice pool check" says more.');
}

/** As the kernel says it, where it would not: the name is there in another form, or another dataset has it. */
export function taken(step: 'snapshot' | 'rename', name: string): SystemError {
  const EEXIST = 17;
  return new SystemError(EEXIST, step, name);
}
