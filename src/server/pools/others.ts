import { type FSWatcher, watch } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { AuditEntry } from '../../engine/audit.ts';

/** The most that is read at once, in bytes. */
const most = 65_536;

/** Milliseconds between two looks, also where the kernel tells of nothing. */
const usualPause = 1000;

/**
 * Follows the audit log for what others have done. Only a hint, by which their changes are seen at once: what it misses is found by
 * looking at the pool.
 */
export class Others implements AsyncDisposable {
  readonly #path: string;
  readonly #onEntry: (entry: AuditEntry) => void;
  readonly #timer: NodeJS.Timeout;
  #watcher: FSWatcher | undefined;
  #file: FileHandle | undefined;
  #inode = 0n;
  #position = 0;
  #rest = '';
  #reading: Promise<void> | undefined;
  #again = false;
  #isClosed = false;

  /** Begins at the present end of the log. */
  constructor(path: string, onEntry: (entry: AuditEntry) => void) {
    this.#path = path;
    this.#onEntry = onEntry;
    this.#timer = setInterval(() => this.#look(), usualPause);
    this.#timer.unref();
    try {
      this.#watcher = watch(dirname(path), { persistent: false }, (_, name) => {
        if (name === basename(path)) this.#look();
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
    this.#watcher?.close();
    await this.#reading;
    await this.#file?.close();
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
    if (!this.#file) await this.#open('end');
    if (!this.#file) return;
    await this.#readToEnd(this.#file);
    if (await this.#isRotated()) {
      await this.#file.close();
      this.#file = undefined;
      await this.#open('start');
      if (this.#file) await this.#readToEnd(this.#file);
    }
  }

  async #open(where: 'start' | 'end'): Promise<void> {
    const isFirst = this.#inode === 0n;
    this.#file = await open(this.#path, 'r').catch(() => undefined);
    if (!this.#file) return;
    const { ino, size } = await this.#file.stat({ bigint: true });
    this.#inode = ino;
    this.#position = where === 'end' && isFirst ? Number(size) : 0;
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
    try {
      const entry: unknown = JSON.parse(line);
      if (typeof entry === 'object' && entry !== null) this.#onEntry(entry as AuditEntry);
    } catch {
      // Half a line, of somebody whose disk was full.
    }
  }
}
