import { type BigIntStats, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { hasErrno } from '../linux/system-calls.ts';
import { CoppiceError } from '../model/errors.ts';
import type { Subject } from './quiescer.ts';

/** A server as seen from here: its own paths may mean other directories than ours, as in a container. */
export class ServerPlaces {
  readonly #root: string;
  readonly #subject: Subject;
  readonly #volume: BigIntStats;

  /** @param pid of the server */
  constructor(pid: number, subject: Subject) {
    if (subject.directory === undefined)
      throw new CoppiceError(
        'invalid_argument',
        `The volume ${subject.volume} is a disk, so the database can't be in it.`,
      );
    this.#root = pid > 0 ? `/proc/${pid}/root` : '';
    this.#subject = subject;
    this.#volume = statSync(subject.directory, { bigint: true });
  }

  /** Undefined when there is no such place. */
  status(path: string): BigIntStats | undefined {
    try {
      return statSync(`${this.#root}${path}`, { bigint: true });
    } catch (error) {
      if (hasErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
      if (!hasErrno(error, 'EACCES', 'EPERM')) throw error;
      throw new CoppiceError(
        'permission_denied',
        `Where the server keeps ${path} can't be seen; run it as root.`,
        { cause: error },
      );
    }
  }

  /** Whether a snapshot of the volume has what is there. */
  isInVolume(path: string): boolean {
    return this.status(path)?.dev === this.#volume.dev;
  }

  /** @throws CoppiceError invalid_argument */
  requireInVolume(path: string, what: string): void {
    if (this.isInVolume(path)) return;
    throw new CoppiceError(
      'invalid_argument',
      `The server keeps ${what} in ${path}, which is not in the volume ${this.#subject.volume}, so a snapshot of that would be useless; move it there, or declare the server for the volume that it is in.`,
    );
  }

  /** @throws CoppiceError invalid_argument unless a directory of the volume is the server's own */
  requireSame(directory: string, path: string): void {
    const ours = statSync(join(this.#subject.directory ?? '', directory), {
      bigint: true,
      throwIfNoEntry: false,
    });
    const theirs = this.status(path);
    if (ours && ours.dev === theirs?.dev && ours.ino === theirs.ino) return;
    throw new CoppiceError(
      'invalid_argument',
      `${directory} in the volume ${this.#subject.volume} is not the directory of the server that answers: that keeps its data in ${path}.`,
    );
  }

  /** Links and mounts in a directory, and one below it, by which a part of the data lies elsewhere. */
  strays(path: string): string[] {
    const look = (directory: string, depth: number): string[] =>
      readdirSync(`${this.#root}${directory}`, { withFileTypes: true }).flatMap((entry) => {
        const each = join(directory, entry.name);
        if (entry.isSymbolicLink() || entry.name.endsWith('.isl')) return [each];
        if (!entry.isDirectory()) return [];
        return this.isInVolume(each) ? (depth > 0 ? look(each, depth - 1) : []) : [each];
      });
    return look(path, 1);
  }
}
