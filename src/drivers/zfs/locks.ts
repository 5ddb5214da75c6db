import { type BigIntStats, constants, fstatSync, mkdirSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { closingOnFailure, Descriptor, descriptorPath } from '../../linux/files.ts';
import { type LockMode, lock } from '../../linux/locks.ts';
import { hasErrno } from '../../linux/system-calls.ts';
import type { Place } from '../driver.ts';
import { lastPart } from './layout.ts';

/**
 * The locks of a pool of ZFS: files in a directory in memory, one for each name, because ZFS has nothing that can be locked. A pool
 * is imported by one kernel at a time, and these files live as long as that kernel runs.
 */
const directory = '/run/coppice/zfs';

/** The open directory of a pool's locks; only root may open it, so that nobody else can keep a lock. */
export function openLocks(guid: string): Descriptor {
  const path = `${directory}/${guid}`;
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return new Descriptor(openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW));
}

/** A lock that somebody has. */
export interface HeldLock extends Disposable {
  /** When it was taken: another one each time that somebody has changed what the lock stands for. */
  readonly generation: string;
  /** Whether somebody has changed that since the lock was made. */
  readonly isChanged: boolean;
  /** Says so, before it is done: then who remembers what was there before looks again, also when the change was interrupted. */
  change(): void;
  /** Has the file taken away with the lock, because what it stands for is gone. Only who has it exclusively may. */
  end(): void;
}

/**
 * Takes the lock of a name.
 * @returns undefined when somebody else has it and `wait` is false
 */
export function takeLock(root: number, name: string, mode: LockMode, wait: boolean): HeldLock | undefined {
  for (;;) {
    const path = `${descriptorPath(root)}/${name}`;
    const file = new Descriptor(
      openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600),
    );
    const taken = closingOnFailure(file, () => lock(file.fd, mode, wait));
    if (!taken) {
      file[Symbol.dispose]();
      return undefined;
    }
    const status = fstatSync(file.fd, { bigint: true });
    // Its last holder may have taken the file away between the two.
    if (status.nlink > 0n) return new FileLock(file, path, status);
    file[Symbol.dispose]();
  }
}

class FileLock implements HeldLock {
  readonly #file: Descriptor;
  readonly #path: string;
  readonly #status: BigIntStats;
  #isEnded = false;

  constructor(file: Descriptor, path: string, status: BigIntStats) {
    this.#file = file;
    this.#path = path;
    this.#status = status;
  }

  get generation(): string {
    // The time, because the number of a file that is gone may be given to another.
    const { ino, size, ctimeNs } = this.#status;
    return `${ino}.${size}.${ctimeNs}`;
  }

  get isChanged(): boolean {
    return this.#status.size > 0n;
  }

  /** Each change is one byte more. */
  change(): void {
    const { size } = fstatSync(this.#file.fd);
    writeSync(this.#file.fd, '+', size);
  }

  end(): void {
    this.#isEnded = true;
  }

  [Symbol.dispose](): void {
    if (this.#isEnded) removeIfAny(this.#path);
    this.#isEnded = false;
    this.#file[Symbol.dispose]();
  }
}

function removeIfAny(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (!hasErrno(error, 'ENOENT')) throw error;
  }
}

/** The name of the lock of who takes a snapshot of a dataset. */
export function turnName(dataset: string): string {
  return `turn-${lastPart(dataset)}`;
}

/** The name of a place's lock. */
export function lockName(place: Place): string {
  switch (place.area) {
    case 'pool':
      return 'pool';
    case 'volumes':
      return `volume-${place.name}`;
    case 'snapshots': {
      const { place: volume } = place.volume;
      return `snapshot-${volume.area === 'volumes' ? volume.name : ''}@${place.name}`;
    }
    default:
      return `${place.area}-${place.id}`;
  }
}
