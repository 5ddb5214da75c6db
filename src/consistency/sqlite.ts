import type { Stats } from 'node:fs';
import { fstatSync } from 'node:fs';
import { basename } from 'node:path';
import { checkTimeout } from '../linux/time-limit.ts';
import { CoppiceError } from '../model/errors.ts';
import type { ApplicationState } from '../model/metadata.ts';
import { startAsUser } from './as-user.ts';
import {
  type Declaration,
  invalidDeclaration,
  parseDeclaration,
  pathInVolume,
  secondsOf,
} from './declaration.ts';
import { openInVolume } from './in-volume.ts';
import { type Preparation, type Quiescer, type Scope, type StepLimits, usualLimits } from './quiescer.ts';
import { Lines, type Script } from './script.ts';

/** What the process says that has the database open. */
export interface SqliteReport {
  readonly phase: 'ready' | 'held' | 'released' | 'failed';
  readonly journal?: string;
  /** Of the log of changes that are not in the database file yet. */
  readonly logBytes?: number;
  readonly why?: string;
}

/**
 * `quiesce.sqlite`: the writers of an SQLite database are held by its own lock, after what is in its log of changes was put into the
 * database itself; readers go on.
 * @throws CoppiceError invalid_argument
 */
export function make(name: string, value: string): Quiescer {
  const declaration = parseDeclaration(name, value, ['timeout']);
  if (declaration.where === undefined)
    throw invalidDeclaration(name, 'it begins with the path of the database in the volume');
  return new SqliteQuiescer(declaration);
}

/** How much of the time for holding SQLite itself may wait for writers, so that it can say that it did. */
const share = 0.8;

class SqliteQuiescer implements Quiescer {
  readonly name: string;
  readonly level = 'application';
  readonly limits: StepLimits;
  readonly #path: string;
  readonly #timeout: number;
  #script: Script | undefined;
  #lines: Lines<SqliteReport> | undefined;
  #held: SqliteReport | undefined;

  constructor(declaration: Declaration) {
    this.name = declaration.name;
    this.#path = pathInVolume(declaration);
    this.#timeout = checkTimeout(secondsOf(declaration, 'timeout') ?? usualLimits.hold);
    this.limits = { ...usualLimits, hold: this.#timeout };
  }

  async prepare({ subject }: Scope, signal: AbortSignal): Promise<Preparation> {
    using file = openInVolume(subject, this.#path);
    requireDatabase(this.#path, file.status, fstatSync(file.directory));
    const args = [basename(this.#path), String(file.status.ino), String(this.#timeout * share)];
    this.#script = startAsUser('sqlite-session', file.status, args, [file.directory]);
    this.#script.child.unref();
    this.#lines = new Lines(this.#script);
    await this.#answer('ready', signal);
    return {};
  }

  async hold(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#held = await this.#ask('hold', 'held', signal);
  }

  async release(signal: AbortSignal): Promise<void> {
    if (!this.#held) return this.#end();
    const isReleased = this.#ask('release', 'released', signal);
    await isReleased.finally(() => this.#end());
  }

  async finish(): Promise<ApplicationState> {
    const { journal = '', logBytes = 0 } = this.#held ?? {};
    return {
      name: this.name,
      level: this.level,
      recovery: logBytes === 0 ? 'none' : 'WAL',
      details: { database: this.#path, journal, ...(logBytes > 0 && { logBytes: String(logBytes) }) },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end();
  }

  /** The lock goes with the process. */
  #end(): void {
    this.#script?.child.kill('SIGKILL');
    this.#script = undefined;
  }

  async #ask(word: string, phase: SqliteReport['phase'], signal: AbortSignal): Promise<SqliteReport> {
    this.#script?.child.stdin?.write(`${word}\n`);
    return await this.#answer(phase, signal);
  }

  async #answer(phase: SqliteReport['phase'], signal: AbortSignal): Promise<SqliteReport> {
    const report = await this.#lines?.next(signal);
    if (report?.phase === phase) return report;
    const why = report?.why ?? 'the process that had it open has ended';
    throw new CoppiceError(
      'io_error',
      `The SQLite database ${this.#path} could not be held: ${why.replace(/\.$/, '')}; ${remedyOf(why)}.`,
    );
  }
}

function remedyOf(why: string): string {
  return why.includes('locked')
    ? 'somebody else writes for longer than that, or keeps it for himself alone; a longer time is declared by timeout='
    : 'no snapshot was taken';
}

/** Root's files in a directory where others may write could be exchanged for links to any file of the host. */
function requireDatabase(path: string, file: Stats, directory: Stats): void {
  const why = !file.isFile()
    ? 'it is not a file'
    : file.nlink > 1
      ? 'it has several names, and SQLite keeps its log of changes by the name'
      : directory.uid !== 0 && directory.uid !== file.uid
        ? `its directory belongs to user ${directory.uid}, and it to user ${file.uid}`
        : file.uid === 0 && (directory.mode & 0o022) !== 0
          ? 'it belongs to root, and others may write to its directory'
          : undefined;
  if (why === undefined) return;
  throw new CoppiceError('invalid_argument', `Refused to open the SQLite database ${path}: ${why}.`);
}
