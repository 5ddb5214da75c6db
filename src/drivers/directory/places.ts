import { readdirSync } from 'node:fs';
import { readAttribute, readAttributeByPath, writeAttribute } from '../../linux/attributes.ts';
import { type FileStatus, isDirectory, statusAt, statusIfAny } from '../../linux/file-status.ts';
import {
  closingOnFailure,
  type Descriptor,
  descriptorPath,
  ensureDirectoryAt,
  makeDirectoryAt,
  moveAt,
  openDirectoryAt,
  openDirectoryIfAny,
  standsInTheWay,
} from '../../linux/files.ts';
import { type LockMode, lock } from '../../linux/locks.ts';
import { randomId } from '../../linux/random.ts';
import type { Metadata, VolumeKind } from '../../model/metadata.ts';
import { decodeMetadata, encodeMetadata } from '../../model/metadata-text.ts';
import type { Held, Place } from '../driver.ts';
import { lockPool } from './pool-lock.ts';

/**
 * Where things live in a pool that is a directory: every entry is a plain directory with its metadata in one attribute, so that
 * the metadata becomes durable together with the rename that publishes it, and stays changeable while the payload is read-only.
 */

export const metadataAttribute = 'user.coppice';
export const diskPath = 'data/disk.raw';
/** The data of a tree: the directory itself. */
export const treeName = 'active';
export const areas = { volumes: 0o711, '.staging': 0o700, '.tombstones': 0o700 } as const;

/** An open and locked directory of the pool. The lock goes with the descriptor. */
export class HeldDirectory implements Held {
  readonly descriptor: Descriptor;
  /** What has the lock, where that is not the descriptor itself. */
  readonly #guard: Disposable | undefined;
  /** As it was when it was locked. New files in an entry that was just staged have the same owner. */
  readonly status: FileStatus;
  place: Place;
  /** Whether it has a disk or a tree, once that is known. */
  kind: VolumeKind | undefined;
  /** Its disk, once something was cloned from it: opened for that once, and closed with it. */
  source: OpenSource | undefined;

  constructor(descriptor: Descriptor, place: Place, status: FileStatus, guard?: Disposable) {
    this.#guard = guard;
    this.descriptor = descriptor;
    this.status = status;
    this.place = place;
  }

  get fd(): number {
    return this.descriptor.fd;
  }

  [Symbol.dispose](): void {
    this.source?.disk[Symbol.dispose]();
    this.descriptor[Symbol.dispose]();
    this.#guard?.[Symbol.dispose]();
  }
}

export interface OpenSource {
  readonly disk: Descriptor;
  readonly status: FileStatus;
  /** Whether what never changes has changed, where a driver has looked. */
  touched?: boolean;
}

export class Places implements Disposable {
  readonly #root: number;
  readonly #volumes: Descriptor;
  readonly #staging: Descriptor;
  readonly #tombstones: Descriptor;
  readonly #opened: DisposableStack;
  /** Many clones in a row are of one template. */
  #lastRead: { readonly bytes: Buffer; readonly metadata: Metadata | undefined } | undefined;

  constructor(root: number) {
    this.#root = root;
    using opened = new DisposableStack();
    this.#volumes = opened.use(openDirectoryAt(root, 'volumes'));
    this.#staging = opened.use(openDirectoryAt(root, '.staging'));
    this.#tombstones = opened.use(openDirectoryAt(root, '.tombstones'));
    this.#opened = opened.move();
  }

  [Symbol.dispose](): void {
    this.#opened.dispose();
  }

  /** The open directory of all volumes. */
  get volumes(): number {
    return this.#volumes.fd;
  }

  listEntries(area: 'staging' | 'tombstones'): string[] {
    const directory = descriptorPath(area === 'staging' ? this.#staging.fd : this.#tombstones.fd);
    // What is no directory is not ours.
    return readdirSync(directory, { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? [entry.name] : [],
    );
  }

  /** What is in a place, and is neither its data nor the directory of its snapshots. */
  strangers(held: HeldDirectory): string[] {
    const ours = [kindOf(held) === 'tree' ? treeName : 'data', 'snapshots'];
    return readdirSync(descriptorPath(held.fd)).filter((name) => {
      const status = ours.includes(name) ? statusIfAny(held.fd, name) : undefined;
      return !(status && isDirectory(status));
    });
  }

  exists(place: Place): boolean {
    return this.#within(place, 'look', (parent, name) => statusIfAny(parent, name) !== undefined) ?? false;
  }

  hold(place: Place, mode: LockMode, wait: boolean): HeldDirectory | 'absent' | 'busy' {
    if (place.area === 'pool') return this.#holdPool(mode, wait);
    return (
      this.#within(place, 'look', (parent, name) => this.#holdIn(parent, name, place, mode, wait)) ?? 'absent'
    );
  }

  /** A sweep may take and clear a new entry between its making and its locking; then another is made. */
  stage(): HeldDirectory {
    for (;;) {
      const id = randomId();
      makeDirectoryAt(this.#staging.fd, id, 0o711);
      const descriptor = openDirectoryIfAny(this.#staging.fd, id);
      const status = descriptor && closingOnFailure(descriptor, () => lockedIfThere(descriptor.fd));
      if (status) return new HeldDirectory(descriptor, { area: 'staging', id }, status);
      descriptor?.[Symbol.dispose]();
    }
  }

  move(held: HeldDirectory, to: Place): void {
    const from = held.place;
    const moved = this.#within(from, 'look', (fromParent, fromName) =>
      this.#within(to, 'make', (toParent, toName) => {
        moveAt(fromParent, fromName, toParent, toName);
        return true;
      }),
    );
    if (!moved)
      throw new Error(
        `What lies in ${from.area} could not be moved to ${to.area}: a directory between is gone.`,
      );
    held.place = to;
  }

  read(held: HeldDirectory): Metadata | undefined {
    const bytes = readAttribute(held.fd, metadataAttribute);
    if (!bytes) return undefined;
    if (!this.#lastRead?.bytes.equals(bytes)) this.#lastRead = { bytes, metadata: decodeMetadata(bytes) };
    const { metadata } = this.#lastRead;
    if (metadata?.type === 'volume') held.kind = metadata.kind;
    return metadata;
  }

  peek(place: Place): Metadata | undefined {
    return this.#within(place, 'look', (parent, name) =>
      decoded(readAttributeByPath(`${descriptorPath(parent)}/${name}`, metadataAttribute)),
    );
  }

  write(held: HeldDirectory, metadata: Metadata): void {
    writeAttribute(held.fd, metadataAttribute, encodeMetadata(metadata));
  }

  /** Runs something with the open directory that a place lies in, and the place's name there. */
  parentOf<T>(place: Place, use: (parent: number, name: string) => T): T | undefined {
    return this.#within(place, 'look', use);
  }

  /** The pool's own directory may be open to everybody, who could then lock it for ever; that of what is staged is not. */
  #holdPool(mode: LockMode, wait: boolean): HeldDirectory | 'busy' {
    const guard = lockPool(this.#root, mode, wait);
    if (!guard) return 'busy';
    return closingOnFailure(guard, () => {
      const descriptor = openDirectoryAt(this.#root, '.');
      const status = closingOnFailure(descriptor, () => statusAt(descriptor.fd, ''));
      return new HeldDirectory(descriptor, { area: 'pool' }, status, guard);
    });
  }

  #holdIn(
    parent: number,
    name: string,
    place: Place,
    mode: LockMode,
    wait: boolean,
  ): HeldDirectory | 'absent' | 'busy' {
    for (;;) {
      const descriptor = openDirectoryIfAny(parent, name);
      if (!descriptor) return 'absent';
      const status = closingOnFailure(descriptor, () => lockedStatus(descriptor, parent, name, mode, wait));
      if (typeof status === 'object') return new HeldDirectory(descriptor, place, status);
      descriptor[Symbol.dispose]();
      if (status === 'busy') return 'busy';
    }
  }

  #within<T>(
    place: Place,
    purpose: 'look' | 'make',
    use: (parent: number, name: string) => T,
  ): T | undefined {
    switch (place.area) {
      case 'pool':
        return use(this.#root, '.');
      case 'volumes':
        return use(this.#volumes.fd, place.name);
      case 'staging':
        return use(this.#staging.fd, place.id);
      case 'tombstones':
        return use(this.#tombstones.fd, place.id);
      case 'snapshots': {
        const volume = (place.volume as HeldDirectory).fd;
        if (purpose === 'make') ensureDirectoryAt(volume, 'snapshots', 0o711);
        using directory = openDirectoryIfAny(volume, 'snapshots');
        return directory && use(directory.fd, place.name);
      }
    }
  }
}

/** The status of an open directory once it is locked, unless its name means something else by then. */
function lockedStatus(
  { fd }: Descriptor,
  parent: number,
  name: string,
  mode: LockMode,
  wait: boolean,
): FileStatus | 'busy' | 'moved' {
  if (!lock(fd, mode, wait)) return 'busy';
  // Between the opening and the lock somebody may have renamed, removed or replaced it: the lock must be on what the name means now.
  const status = statusAt(fd, '');
  return statusIfAny(parent, name)?.inode === status.inode ? status : 'moved';
}

/** The same for a new entry, which nobody moves but a sweep removes: then it has no name any more. */
function lockedIfThere(fd: number): FileStatus | undefined {
  if (!lock(fd, 'exclusive', false)) return undefined;
  const status = statusAt(fd, '');
  return status.links > 0 ? status : undefined;
}

/** What it says of itself or, of a snapshot, what its volume does; what is half made or half gone is looked into. */
export function kindOf(held: HeldDirectory): VolumeKind {
  if (held.kind) return held.kind;
  const { place } = held;
  held.kind =
    place.area === 'snapshots'
      ? kindOf(place.volume as HeldDirectory)
      : statusIfAny(held.fd, treeName)
        ? 'tree'
        : 'block';
  return held.kind;
}

/** The directory, unless there is none, or something else stands there. */
export function openUnlessForeign(directory: number, path: string): Descriptor | undefined {
  try {
    return openDirectoryIfAny(directory, path);
  } catch (error) {
    if (standsInTheWay(error)) return undefined;
    throw error;
  }
}

function decoded(bytes: Buffer | undefined): Metadata | undefined {
  return bytes && decodeMetadata(bytes);
}
