import type { Held, Place } from '../drivers/driver.ts';
import { closingOnFailure } from '../linux/files.ts';
import type { LockMode } from '../linux/locks.ts';
import { blockedBy, CoppiceError, didYouMean } from '../model/errors.ts';
import type { VolumeMetadata } from '../model/metadata.ts';
import { formatReference, type Name, type Reference } from '../model/names.ts';
import type { Context } from './context.ts';
import { busy } from './failures.ts';
import { inStorageOrder } from './snapshot-order.ts';
import { isHidden, snapshotsOf, volumesOf } from './visible.ts';

export interface HeldVolume extends Disposable {
  readonly held: Held;
  readonly name: Name;
  readonly metadata: VolumeMetadata;
}

export interface HeldSource extends HeldVolume {
  readonly reference: Reference;
  /** What is copied: the volume itself, or its snapshot. */
  readonly source: Held;
}

/** Holds a volume that must exist and be ours. An import of that name that is under way is waited for. */
export function holdVolume(context: Context, name: Name, mode: LockMode): HeldVolume {
  return lockVolume(context, name, mode);
}

/** Holds what a reference names, as the source of a copy: the volume, or a snapshot together with its volume. */
export function holdSource(context: Context, reference: Reference): HeldSource {
  const volume = lockVolume(context, reference.volume, 'shared');
  const { snapshot } = reference;
  if (!snapshot) return volume;
  return closingOnFailure(volume, () => {
    const source = holdSnapshot(context, volume, snapshot, 'shared');
    return new LockedVolume(volume.held, reference, volume.metadata, source);
  });
}

function lockVolume(context: Context, name: Name, mode: LockMode): LockedVolume {
  for (let wasNobodyAtWork = false; ; ) {
    const held = context.driver.hold({ area: 'volumes', name }, mode, context.wait);
    if (held === 'busy') throw busy(name);
    if (held !== 'absent') return withMetadata(context, held, name);
    if (wasNobodyAtWork) throw noSuchVolume(context, name);
    // An import may have come to its end between the two looks: the name is there before its work is gone, so it is looked for again.
    wasNobodyAtWork = !waitForWork(context, name);
  }
}

class LockedVolume implements HeldSource {
  readonly held: Held;
  readonly reference: Reference;
  readonly metadata: VolumeMetadata;
  readonly source: Held;

  constructor(held: Held, reference: Reference, metadata: VolumeMetadata, source: Held = held) {
    this.held = held;
    this.reference = reference;
    this.metadata = metadata;
    this.source = source;
  }

  get name(): Name {
    return this.reference.volume;
  }

  [Symbol.dispose](): void {
    if (this.source !== this.held) this.source[Symbol.dispose]();
    this.held[Symbol.dispose]();
  }
}

export function holdSnapshot(context: Context, volume: HeldVolume, name: Name, mode: LockMode): Held {
  const held = context.driver.hold({ area: 'snapshots', volume: volume.held, name }, mode, context.wait);
  const label = formatReference({ volume: volume.name, snapshot: name });
  if (held === 'busy') throw busy(label);
  if (held !== 'absent') {
    if (!closingOnFailure(held, () => isHidden(context, context.driver.read(held)))) return held;
    held[Symbol.dispose]();
  }
  const names = inStorageOrder(snapshotsOf(context, volume.name))
    .map((each) => each.name)
    .reverse();
  throw new CoppiceError(
    'not_found',
    `There is no snapshot ${label}.${didYouMean(name, names) || present(names)}`,
  );
}

function present(names: readonly string[]): string {
  if (names.length === 0) return ' It has none.';
  if (names.length <= 10) return ` It has: ${names.join(', ')}.`;
  return ` Of its ${names.length} snapshots these are the newest: ${names.slice(0, 10).join(', ')}.`;
}

/** Templates are immutable. @throws CoppiceError blocked */
export function requireUnsealed(volume: HeldVolume, action: string): void {
  if (!volume.metadata.sealed) return;
  throw blockedBy(`Could not ${action}`, [
    {
      kind: 'sealed',
      what: `${volume.name} is a template, which never changes`,
      remedy: `clone it and work on the clone`,
    },
  ]);
}

/** A directory tree has no disk. @throws CoppiceError unsupported */
export function requireDisk(volume: HeldVolume, action: string, remedy: string): void {
  if (volume.metadata.kind === 'block') return;
  throw new CoppiceError(
    'unsupported',
    `Could not ${action}: ${volume.name} is a directory tree and not a disk; ${remedy}.`,
  );
}

/** Whether an import of this name was under way; returns after it has ended. */
function waitForWork(context: Context, name: Name): boolean {
  const place = findWork(context, name);
  if (!place) return false;
  if (!context.wait) throw busy(name);
  const ended = context.driver.hold(place, 'shared', true);
  if (typeof ended === 'object') ended[Symbol.dispose]();
  return true;
}

/** Where work on this name, such as an import, is under way in a living process. */
export function findWork(context: Context, name: string): Place | undefined {
  for (const id of context.driver.listEntries('staging')) {
    const place = { area: 'staging', id } as const;
    const work = context.driver.peek(place);
    if (work?.type !== 'work' || work.volume !== name) continue;
    const held = context.driver.hold(place, 'shared', false);
    // Not locked: its process has died; the next opening of the pool sweeps it.
    if (held !== 'busy') {
      if (held !== 'absent') held[Symbol.dispose]();
      continue;
    }
    return place;
  }
  return undefined;
}

export function noSuchVolume(context: Context, name: Name): CoppiceError {
  const names = volumesOf(context).map((volume) => volume.name);
  const hint = didYouMean(name, names) || ' "coppice list" shows what there is.';
  return new CoppiceError('not_found', `There is no volume or template ${name} in ${context.path}.${hint}`);
}

function withMetadata(context: Context, held: Held, name: Name): LockedVolume {
  const { metadata, hidden } = closingOnFailure(held, () => {
    const metadata = context.driver.read(held);
    return { metadata, hidden: isHidden(context, metadata) };
  });
  if (metadata?.type === 'volume' && !hidden) return new LockedVolume(held, { volume: name }, metadata);
  held[Symbol.dispose]();
  if (hidden) throw noSuchVolume(context, name);
  throw new CoppiceError(
    'damaged',
    `${context.driver.label(held.place)} is not a volume that Coppice made, or its metadata is gone; "coppice pool check" says more.`,
  );
}
