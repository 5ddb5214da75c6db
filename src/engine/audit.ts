import { closeSync, constants, fstatSync, lstatSync, openSync, writeSync } from 'node:fs';
import { randomId } from '../linux/random.ts';
import { CoppiceError, type ErrorCode } from '../model/errors.ts';
import type { OperationName } from './operations.ts';

/**
 * Who changed what, when, with what result: one line of JSON for each change, appended by every process that works on a pool, so that
 * the command line is in it, too. Nothing is written where there is no such file and no directory for it: the daemon makes that. It is
 * also how a daemon hears at once of what others do; that it may miss a line (of a process that dies, of a user who may not write
 * here) is why it looks at the whole pool from time to time as well.
 */

/** Where it is, unless somebody says otherwise. */
export const defaultAuditPath = '/var/log/coppice/audit.jsonl';

/** On whose behalf a process works, where that is not the user it runs as. */
export interface Attribution {
  /** Whom a server has recognised, such as `token:ci` or `uid:1000`. */
  readonly principal?: string;
  /** By which a server's log tells the rest. */
  readonly requestId?: string;
}

/** What changes a pool, and what writes files of the host. */
export type AuditedOperation = OperationName | 'growPool';

export interface AuditEntry extends Attribution {
  /** ISO 8601, UTC: when it ended. */
  readonly time: string;
  readonly pool: string;
  readonly poolId: string;
  readonly operation: AuditedOperation;
  /** The volumes that it was about; absent where they are not known, or too many. */
  readonly names?: readonly string[];
  readonly arguments: readonly unknown[];
  /** `ok`, or the code of the error. */
  readonly outcome: 'ok' | ErrorCode | 'internal';
  readonly message?: string;
  readonly milliseconds: number;
  /** `cli`, `daemon` or `library`. */
  readonly program: string;
  readonly uid: number;
  /** The user who has called sudo. */
  readonly sudoUser?: string;
  readonly pid: number;
  /** The same for all lines of one opened pool. */
  readonly session: string;
}

/** How a process is to be told from others in the log. */
export interface AuditSetup {
  readonly path: string;
  readonly program: string;
  readonly session: string;
}

export function auditSetup(path: string = defaultAuditPath, program = 'library'): AuditSetup {
  return { path, program, session: randomId() };
}

/** Does something to a pool, and tells it, also when it fails. */
export function audited<T>(
  log: AuditLog | undefined,
  operation: AuditedOperation,
  args: readonly unknown[],
  by: Attribution | undefined,
  run: () => T,
): T {
  const began = performance.now();
  try {
    const result = run();
    log?.append(operation, args, began, undefined, by);
    return result;
  } catch (error) {
    log?.append(operation, args, began, error, by);
    throw error;
  }
}

/** The most names and characters of arguments that a line tells. */
const mostNames = 1000;
const longestArguments = 4096;

/** Milliseconds after which it is looked whether the file was rotated. */
const usualLook = 1000;

export class AuditLog implements Disposable {
  readonly #setup: AuditSetup;
  readonly #pool: Pick<AuditEntry, 'pool' | 'poolId'>;
  readonly #who: Pick<AuditEntry, 'uid' | 'pid' | 'sudoUser'>;
  #fd: number | undefined;
  #looked = Number.NEGATIVE_INFINITY;

  constructor(setup: AuditSetup, pool: Pick<AuditEntry, 'pool' | 'poolId'>) {
    this.#setup = setup;
    this.#pool = pool;
    const sudoUser = process.env['SUDO_USER'];
    this.#who = { uid: process.getuid?.() ?? -1, pid: process.pid, ...(sudoUser && { sudoUser }) };
  }

  /** Whether there is somewhere to write to. */
  get isOpen(): boolean {
    const now = performance.now();
    if (now - this.#looked > usualLook) {
      this.#looked = now;
      this.#followRotation();
    }
    return this.#fd !== undefined;
  }

  /** Appends one line. What goes wrong with that is no failure of what was done. */
  append(
    operation: AuditedOperation,
    args: readonly unknown[],
    began: number,
    failure: unknown,
    by: Attribution = {},
  ): void {
    if (!this.isOpen || this.#fd === undefined) return;
    const names = namesIn(operation, args);
    const { program, session } = this.#setup;
    const entry: AuditEntry = {
      time: new Date().toISOString(),
      ...this.#pool,
      operation,
      ...(names && names.length <= mostNames && { names }),
      arguments: bounded(args),
      ...outcomeOf(failure),
      milliseconds: Math.round((performance.now() - began) * 1000) / 1000,
      program,
      ...this.#who,
      ...by,
      session,
    };
    try {
      writeSync(this.#fd, `${JSON.stringify(entry)}\n`);
    } catch {
      // The disk of the log is full: that is no reason to fail, or to keep the pool from being cleared.
    }
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    this.#looked = Number.POSITIVE_INFINITY;
  }

  #followRotation(): void {
    try {
      const present = lstatSync(this.#setup.path, { throwIfNoEntry: false });
      if (this.#fd !== undefined) {
        const mine = fstatSync(this.#fd);
        if (present?.ino === mine.ino && present.dev === mine.dev) return;
        closeSync(this.#fd);
        this.#fd = undefined;
      }
      const { O_APPEND, O_WRONLY, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
      const fd = openSync(this.#setup.path, O_APPEND | O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o640);
      if (fstatSync(fd).isFile()) this.#fd = fd;
      else closeSync(fd);
    } catch {
      // No such directory, or not for this user.
    }
  }
}

/** The volumes that an operation changes; undefined where its arguments don't tell. */
function namesIn(operation: AuditedOperation, args: readonly unknown[]): readonly string[] | undefined {
  const given = changed[operation]?.(args).filter((each): each is string => typeof each === 'string');
  return given && [...new Set(given.map((reference) => reference.split('@', 1)[0] ?? ''))];
}

const changed: Partial<Record<AuditedOperation, (args: readonly unknown[]) => readonly unknown[]>> = {
  create: ([name]) => [name],
  clone: ([, name]) => [name],
  snapshot: ([reference]) => [reference],
  snapshotTogether: ([references]) => [references].flat(),
  set: ([name]) => [name],
  hold: ([references]) => [references].flat(),
  release: ([references]) => [references].flat(),
  rollback: ([reference]) => [reference],
  rename: ([from, to]) => [from, to],
  grow: ([name]) => [name],
  mount: ([name]) => [name],
  unmount: ([name]) => [name],
  seal: ([, name]) => [name],
  remove: ([references]) => [references].flat(),
  import: ([name]) => [name],
  export: () => [],
};

function bounded(args: readonly unknown[]): readonly unknown[] {
  const text = JSON.stringify(args);
  return text.length <= longestArguments ? args : [`${text.slice(0, longestArguments)}...`];
}

function outcomeOf(failure: unknown): Pick<AuditEntry, 'outcome' | 'message'> {
  if (failure === undefined) return { outcome: 'ok' };
  if (failure instanceof CoppiceError) return { outcome: failure.code, message: failure.message };
  return { outcome: 'internal', message: failure instanceof Error ? failure.message : String(failure) };
}
