import type { Socket } from 'node:net';
import { CoppiceError } from '../../model/errors.ts';
import { type Reply, takeReply } from './replies.ts';

/** The most that is kept of what a server says and nobody has understood yet, in bytes. */
const mostBytes = 2 ** 20;

/**
 * A conversation with a Redis or Valkey server, one command after the other, on one connection that is never made anew: what was said
 * on another one holds nobody still. There are libraries for this; what they have beyond it (pools, clusters, reconnecting) is what
 * must not happen here, and the protocol is a page.
 */
export class RedisConnection implements Disposable {
  readonly #socket: Socket;
  #buffer: Buffer = Buffer.alloc(0);
  #failure: CoppiceError | undefined;
  #wake: () => void = () => undefined;

  /** @param socket connected already; it is this one's from here on */
  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#buffer = Buffer.concat([this.#buffer, chunk]);
      if (this.#buffer.length > mostBytes) this.#fail('has said too much');
      this.#wake();
    });
    socket.on('error', () => this.#fail('has hung up'));
    socket.on('close', () => this.#fail('has hung up'));
  }

  /** @throws CoppiceError; what the signal says, and then the connection is gone */
  async ask(signal: AbortSignal, ...words: readonly string[]): Promise<Reply> {
    const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
    this.#socket.write(`*${words.length}\r\n${parts.join('')}`);
    const reply = await this.#next(signal);
    if (!(reply instanceof Error)) return reply;
    throw refusal(words[0] ?? '', reply.message);
  }

  /** What `INFO` says, by name. */
  async info(signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
    const lines = String(await this.ask(signal, 'INFO')).split('\r\n');
    return new Map(
      lines.flatMap((line): Array<[string, string]> => {
        const [, name, value] = /^(\w+):(.*)$/.exec(line) ?? [];
        return name === undefined || value === undefined ? [] : [[name, value]];
      }),
    );
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  async #next(signal: AbortSignal): Promise<Reply | Error> {
    const wake = (): void => this.#wake();
    signal.addEventListener('abort', wake);
    try {
      for (;;) {
        const taken = takeReply(this.#buffer);
        if (taken === 'nonsense') this.#fail('says what is no answer; is it a Redis server?');
        else if (taken) {
          this.#buffer = this.#buffer.subarray(taken.length);
          return taken.reply;
        }
        if (this.#failure) throw this.#failure;
        if (signal.aborted) {
          this.#socket.destroy(); // the next answer would be to this question
          throw signal.reason;
        }
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      signal.removeEventListener('abort', wake);
    }
  }

  #fail(why: string): void {
    this.#failure ??= new CoppiceError('io_error', `The server ${why}.`);
    this.#socket.destroy();
    this.#wake();
  }
}

function refusal(command: string, message: string): CoppiceError {
  const text = message.replace(/[^\x20-\x7e]+/g, ' ').slice(0, 200);
  if (!/^(NOAUTH|WRONGPASS|NOPERM|ERR unknown command|ERR.*AUTH)/.test(text))
    return new CoppiceError('io_error', `The server refuses ${command}: ${text}.`);
  return new CoppiceError(
    'permission_denied',
    `The server refuses ${command}: ${text}. Name a user by user= and its password by password-file=, who may use INFO, CONFIG GET, CLIENT PAUSE, CLIENT UNPAUSE and BGSAVE.`,
  );
}
