import { closeSync, constants, mkdirSync, openSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { Descriptor } from '../linux/files.ts';
import { lock, unlock } from '../linux/locks.ts';
import { CoppiceError } from '../model/errors.ts';

/**
 * What is frozen by one must not be thawed by another one who has frozen it, too: so they take turns, by a lock on a file that only
 * this user may open. Within a thread it is shared, because one operation may freeze the same application for two volumes: then the last
 * one thaws. The process that thaws in place of one that has died gets the descriptor, and with it the lock, for as long as it needs it.
 */
export interface Turn extends Disposable {
  readonly fd: number;
  /** Waits for it. Once taken it lasts until `leave`. */
  take(signal: AbortSignal): Promise<void>;
  leave(): void;
  /** Whether nobody else here holds this already. */
  begin(thing: string): boolean;
  isHeld(thing: string): boolean;
  /** Whether nobody else here holds it any more. */
  end(thing: string): boolean;
}

interface Shared {
  readonly file: Descriptor;
  readonly held: Map<string, number>;
  users: number;
  takers: number;
}

const open = new Map<string, Shared>();

/** Milliseconds between two tries to get the lock. */
const pause = 5;

/** @param name of the file: of what is frozen */
export function openTurn(name: string): Turn {
  const shared = open.get(name) ?? openShared(name);
  open.set(name, shared);
  shared.users++;
  let [isOpen, isTaken] = [true, false];
  const leave = (): void => {
    if (!isTaken) return;
    isTaken = false;
    if (--shared.takers === 0) unlock(shared.file.fd);
  };
  return {
    fd: shared.file.fd,
    async take(signal) {
      while (shared.takers === 0 && !lock(shared.file.fd, 'exclusive', false)) await waitMore(signal);
      shared.takers++;
      isTaken = true;
    },
    leave,
    begin: (thing) => count(shared.held, thing, 1) === 1,
    isHeld: (thing) => shared.held.has(thing),
    end: (thing) => count(shared.held, thing, -1) === 0,
    [Symbol.dispose]() {
      leave();
      if (!isOpen) return;
      isOpen = false;
      if (--shared.users > 0) return;
      open.delete(name);
      shared.file[Symbol.dispose]();
    },
  };
}

function openShared(name: string): Shared {
  const uid = process.geteuid?.() ?? 0;
  const directory = uid === 0 ? '/run/coppice/freeze' : `/run/user/${uid}/coppice-freeze`;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const { O_RDWR, O_CREAT, O_NOFOLLOW } = constants;
    const fd = openSync(`${directory}/${name}`, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);
    return { file: new Descriptor(fd, closeSync), held: new Map(), users: 0, takers: 0 };
  } catch (cause) {
    throw new CoppiceError(
      'io_error',
      `Nothing can be frozen, because there can be no lock in ${directory}: ${cause instanceof Error ? cause.message : cause}.`,
      { cause },
    );
  }
}

async function waitMore(signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await delay(pause);
}

function count(held: Map<string, number>, thing: string, change: number): number {
  const sum = (held.get(thing) ?? 0) + change;
  if (sum > 0) held.set(thing, sum);
  else held.delete(thing);
  return sum;
}
