import { randomInt } from 'node:crypto';
import type { Socket } from 'node:net';
import { LineSocket } from '../linux/unix-socket.ts';
import { CoppiceError } from '../model/errors.ts';

/**
 * The agent of QEMU in a guest, which can freeze and thaw its file systems. Its protocol, in which answers carry nothing that says
 * what they answer: https://www.qemu.org/docs/master/interop/qemu-ga-ref.html
 */
export class QemuGuestAgent implements Disposable {
  readonly #lines: LineSocket;
  readonly #path: string;

  constructor(socket: Socket, path: string) {
    this.#lines = new LineSocket(socket, path, 64 * 1024);
    this.#path = path;
  }

  /** Makes sure that somebody answers, and that no answer to what others have asked before is still on the way. */
  async synchronize(): Promise<void> {
    const id = randomInt(2 ** 31);
    // The first byte ends whatever half a line somebody has left there; the agent sends the same before its answer.
    this.#lines.send(Buffer.concat([sentinel, command('guest-sync-delimited', { id })]));
    for (;;) {
      const line = await this.#lines.line();
      const start = line.lastIndexOf(sentinel);
      const answer = start < 0 ? undefined : parse(line.subarray(start + 1));
      if (answer?.['return'] === id) return;
    }
  }

  /** Freezes all that can be frozen. Returns how many file systems that were. */
  async freeze(): Promise<number> {
    return this.#count('guest-fsfreeze-freeze');
  }

  /** Returns how many it has thawed, if nobody else has before. */
  async thaw(): Promise<number> {
    return this.#count('guest-fsfreeze-thaw');
  }

  async isFrozen(): Promise<boolean> {
    this.#lines.send(command('guest-fsfreeze-status'));
    for (;;) {
      const answer = await this.#answer('guest-fsfreeze-status');
      // A number answers the thaw of whoever watches over us.
      if (typeof answer === 'string') return answer === 'frozen';
    }
  }

  async #count(name: string): Promise<number> {
    this.#lines.send(command(name));
    const answer = await this.#answer(name);
    if (typeof answer === 'number' && Number.isSafeInteger(answer) && answer >= 0) return answer;
    throw this.#unusable(name);
  }

  async #answer(name: string): Promise<unknown> {
    const answer = parse(withoutSentinel(await this.#lines.line()));
    const error = answer?.['error'];
    if (typeof error === 'object' && error !== null) {
      const { desc } = error as Record<string, unknown>;
      throw new CoppiceError(
        'io_error',
        `the guest agent refused ${name}: ${typeof desc === 'string' ? desc.slice(0, 300) : 'it does not say why'}.`,
      );
    }
    if (answer && 'return' in answer) return answer['return'];
    throw this.#unusable(name);
  }

  #unusable(name: string): CoppiceError {
    return new CoppiceError('io_error', `what listens on ${this.#path} is no guest agent of QEMU (${name}).`);
  }

  [Symbol.dispose](): void {
    this.#lines[Symbol.dispose]();
  }
}

/** A byte that is in no text. */
const sentinel = Buffer.from([0xff]);

export function command(name: string, given?: Readonly<Record<string, unknown>>): Buffer {
  return Buffer.from(`${JSON.stringify({ execute: name, ...(given && { arguments: given }) })}\n`);
}

function withoutSentinel(line: Buffer): Buffer {
  return line.subarray(line.lastIndexOf(sentinel) + 1);
}

function parse(line: Buffer): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(line.toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
