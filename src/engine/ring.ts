/**
 * Messages from one thread to another through shared memory: one writes, one reads. While the reader looks again and again, a message costs
 * no system call and wakes nobody. A reader that goes to sleep says so, and the next writer is told to ring for it.
 */

const control = { written: 0, read: 1, awake: 2 } as const;
const controlBytes = 16;
/** A power of two, so that positions may overflow. */
const capacity = 2 ** 16;
const lengthBytes = 4;
/** In the place of a length: the next message begins at the start of the buffer. */
const skipped = -1;

/** What goes another way to a reader who sleeps: look into the ring. */
export const bell = '';

export function ringBuffer(): SharedArrayBuffer {
  return new SharedArrayBuffer(controlBytes + capacity);
}

/** What a message of so many bytes takes in the ring, so that the next length has room wherever this one ends. */
function sizeOf(length: number): number {
  return (lengthBytes + length + 3) & ~3;
}

export class Ring {
  readonly #control: Int32Array;
  readonly #bytes: Buffer;

  /** @param shared from `ringBuffer`; a new one is empty, and its reader asleep */
  constructor(shared: SharedArrayBuffer) {
    this.#control = new Int32Array(shared, 0, controlBytes / 4);
    this.#bytes = Buffer.from(shared, controlBytes, capacity);
  }

  /**
   * Writes a message. `asleep`: the reader has to be woken; `full`: there is no room, and nothing was written. A message of more
   * than 10,000 characters may be refused by an empty ring, too.
   */
  write(text: string): 'awake' | 'asleep' | 'full' {
    // As if each character took three bytes: to count them first would take as long as to write them.
    const most = sizeOf(text.length * 3);
    const written = this.#control[control.written] ?? 0;
    const offset = written & (capacity - 1);
    const skip = offset + most > capacity ? capacity - offset : 0;
    const used = (written - Atomics.load(this.#control, control.read)) | 0;
    if (used + skip + most > capacity) return 'full';
    if (skip > 0) this.#bytes.writeInt32LE(skipped, offset);
    const start = skip > 0 ? 0 : offset;
    const length = this.#bytes.write(text, start + lengthBytes, 'utf8');
    this.#bytes.writeInt32LE(length, start);
    Atomics.store(this.#control, control.written, (written + skip + sizeOf(length)) | 0);
    // Only one of those who find it asleep rings.
    return Atomics.compareExchange(this.#control, control.awake, 0, 1) === 0 ? 'asleep' : 'awake';
  }

  /** The oldest message that was not read yet. */
  read(): string | undefined {
    const read = this.#control[control.read] ?? 0;
    if (Atomics.load(this.#control, control.written) === read) return undefined;
    const offset = read & (capacity - 1);
    const length = this.#bytes.readInt32LE(offset);
    if (length === skipped) {
      Atomics.store(this.#control, control.read, (read + capacity - offset) | 0);
      return this.read();
    }
    const start = offset + lengthBytes;
    const text = this.#bytes.toString('utf8', start, start + length);
    Atomics.store(this.#control, control.read, (read + sizeOf(length)) | 0);
    return text;
  }

  /** The reader will look again by itself. */
  stayAwake(): void {
    Atomics.store(this.#control, control.awake, 1);
  }

  /** The reader wants to be woken from now on; false: there is something to read first, and it stays awake. */
  sleep(): boolean {
    Atomics.store(this.#control, control.awake, 0);
    // Whoever wrote before that has not seen it; whoever writes after it has.
    if (Atomics.load(this.#control, control.written) === this.#control[control.read]) return true;
    this.stayAwake();
    return false;
  }
}
