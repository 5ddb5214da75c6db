import { type FSWatcher, statSync, watch } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { AuditEntry } from '../../engine/audit.ts';

/** The most that is read at once, in bytes. */
const most = 65_536;

/** Milliseconds between two looks, also where the kernel tells of nothing; and at least, where it tells of many lines. */
const usualPause = 1000;
const shortestPause = 50;

/**
 * Follows the audit log for what others have done. Only a hint, by which their changes are seen at once: what it misses is found by
 * looking at the pool.
 */
export class Others implements AsyncDisposable {
  readonly #path: string;
  readonly #onEntry: (entry: AuditEntry) => void;
  readonly #isOwn: (line: string) => boolean;
  readonly #timer: NodeJS.Timeout;
  #watcher: FSWatcher | undefined;
  #file: FileHandle | undefined;
  /** Of the log that is followed; undefined as long as there is none. */
  #inode: bigint | undefined;
  #position = 0;
  #rest = '';
  #reading: Promise<void> | undefined;
  #again = false;
  #soon: NodeJS.Timeout | undefined;
  #isClosed = false;

  /**
   * Begins at the present end of the log.
   * @param isOwn whether a line is one of this process, which it knows of anyway
   */
  constructor(path: string, onEntry: (entry: AuditEntry) => void, isOwn: (line: string) => boolean) {
    this.#isOwn = isOwn;
    this.#path = path;
    this.#onEntry = onEntry;
    // Now, and not when it is opened: what is written until then is news, and so is all of a log that is made later.
    [this.#inode, this.#position] = endOf(path);
    this.#timer = setInterval(() => this.#look(), usualPause);
    this.#timer.unref();
    try {
      this.#watcher = watch(dirname(path), { persistent: false }, (_, name) => {
        if (name === basename(path)) this.#lookSoon();
      });
      this.#watcher.on('error', () => this.#watcher?.close());
    } catch {
      // There is no such directory: the timer goes on looking.
    }
    this.#look();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#timer);
    clearTimeout(this.#soon);
    this.#watcher?.close();
    await this.#reading;
    await this.#file?.close();
  }

  /** What is written here by this process, too, is told of line by line. */
  #lookSoon(): void {
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      this.#look();
    }, shortestPause);
  }

  #look(): void {
    if (this.#reading !== undefined) this.#again = true;
    else if (!this.#isClosed)
      this.#reading = this.#readAll()
        .catch(() => {})
        .finally(() => {
          this.#reading = undefined;
          if (this.#again) {
            this.#again = false;
            this.#look();
          }
        });
  }

  async #readAll(): Promise<void> {
    if (!this.#file) await this.#open();
    if (!this.#file) return;
    await this.#readToEnd(this.#file);
    if (await this.#isRotated()) {
      await this.#file.close();
      this.#file = undefined;
      await this.#open();
      if (this.#file) await this.#readToEnd(this.#file);
    }
  }

  async #open(): Promise<void> {
    this.#file = await open(this.#path, 'r').catch(() => undefined);
    if (!this.#file) return;
    const { ino } = await this.#file.stat({ bigint: true });
    if (ino === this.#inode) return;
    this.#inode = ino;
    this.#position = 0;
    this.#rest = '';
  }

  async #isRotated(): Promise<boolean> {
    const present = await open(this.#path, 'r').catch(() => undefined);
    if (!present) return false;
    try {
      return (await present.stat({ bigint: true })).ino !== this.#inode;
    } finally {
      await present.close();
    }
  }

  async #readToEnd(file: FileHandle): Promise<void> {
    const { size } = await file.stat();
    // Somebody has emptied it.
    if (size < this.#position) this.#position = 0;
    while (!this.#isClosed) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(most), 0, most, this.#position);
      if (bytesRead === 0) return;
      this.#position += bytesRead;
      // Names are ASCII; what else a message says may be cut within a character, which does no harm here.
      const lines = (this.#rest + buffer.toString('utf8', 0, bytesRead)).split('\n');
      this.#rest = lines.pop()?.slice(-most) ?? '';
      for (const line of lines) this.#tell(line);
    }
  }

  #tell(line: string): void {
    // Most lines are of this process, and need not be read.
    if (this.#isOwn(line)) return;
    try {
      const entry: unknown = JSON.parse(line);
      if (typeof entry === 'object' && entry !== null) this.#onEntry(entry as AuditEntry);
    } catch {
      // Half a line, of somebody whose disk was full.
    }
  }
}

/** The inode of a log and its size; what can't be looked at is as good as not there. */
function endOf(path: string): [inode: bigint | undefined, bytes: number] {
  try {
    const { ino, size } = statSync(path, { bigint: true });
    return [ino, Number(size)];
  } catch {
    return [undefined, 0];
  }
}
