import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type DescMessage, fromBinary, type Message, type MessageShape, toBinary } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { CoppiceError, type ErrorCode } from '../../model/errors.ts';
import { badRequest } from '../failures.ts';
import type { State } from './state.ts';

/** One request of somebody who may ask again. */
export interface Once {
  readonly principal: string;
  readonly requestId: string;
  /** As the contract names it: `coppice.v1.VolumeService.Clone`. */
  readonly method: string;
  readonly request: { readonly schema: DescMessage; readonly message: Message };
  /** A power cut may take the effect, and leave the answer that was written down: such an answer counts until the next boot. */
  readonly isDeferred?: boolean;
}

export interface Attempt {
  /** What is made shall carry it, so that `find` knows it. */
  readonly mark: string;
  /** Writes down what `find` will need. */
  readonly note: (text: string) => Promise<void>;
  /** To be called when the effect is there and more is to be done: whatever fails from then on, the id is not free. */
  readonly done: () => void;
}

export interface OnceSteps<R extends DescMessage> {
  readonly response: R;
  readonly run: (attempt: Attempt) => Promise<MessageShape<R>>;
  /**
   * Whether an attempt that was interrupted has had its effect: its answer; undefined when it has not, and it can be run again.
   * @param noted what `run` has noted before
   */
  readonly find: (mark: string, noted: string) => Promise<MessageShape<R> | undefined>;
}

/** Has a request that comes twice happen once, and gives the same answer again. */
export class Requests {
  readonly #state: State;
  readonly #boot: string;
  readonly #underWay = new Map<string, { readonly fingerprint: string; readonly answer: Promise<unknown> }>();

  /** @param boot of the machine, which is another after a power cut */
  constructor(state: State, boot: string = bootId()) {
    this.#state = state;
    this.#boot = boot;
  }

  /** @throws ConnectError INVALID_ARGUMENT when the id was used for another request, and what the steps throw */
  once<R extends DescMessage>(once: Once, steps: OnceSteps<R>): Promise<MessageShape<R>> {
    const key = digest(once.principal, once.requestId);
    const fingerprint = digest(once.method, toBinary(once.request.schema, once.request.message));
    const known = this.#underWay.get(key);
    if (known) {
      requireSame(known.fingerprint, fingerprint);
      return known.answer as Promise<MessageShape<R>>;
    }
    const answer = this.#run(key, fingerprint, once.isDeferred ?? false, steps).finally(() =>
      this.#underWay.delete(key),
    );
    this.#underWay.set(key, { fingerprint, answer });
    return answer;
  }

  async #run<R extends DescMessage>(
    key: string,
    fingerprint: string,
    isDeferred: boolean,
    { response, run, find }: OnceSteps<R>,
  ): Promise<MessageShape<R>> {
    const stored = await this.#state.begin(key, fingerprint);
    if (stored) requireSame(stored.fingerprint, fingerprint);
    if (stored?.answer && !(isDeferred && stored.boot !== this.#boot))
      return fromBinary(response, stored.answer);
    let isDone = false;
    const done = (): void => {
      isDone = true;
    };
    let answer = stored && (await find(key, stored.note));
    try {
      answer ??= await run({ mark: key, note: (text) => this.#state.note(key, text), done });
    } catch (error) {
      // An attempt of the same id may have had its effect all the same, and failed after it.
      const isTaken = error instanceof CoppiceError && error.code === 'already_exists';
      answer = isTaken ? await find(key, '') : undefined;
      if (!answer) {
        // Where something may have happened all the same, a retry looks for it, with what was noted.
        if (!isDone && hasDoneNothing(error)) await this.#state.forget(key).catch(() => {});
        throw error;
      }
    }
    // Where it can't be written, a retry finds out what has happened. It has, which is what the answer says.
    await this.#state.answer(key, toBinary(response, answer), this.#boot).catch(() => {});
    return answer;
  }
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}

/** Failures that come before anything is done, so that the id is free. */
const harmless: ReadonlySet<ErrorCode> = new Set([
  'invalid_argument',
  'not_found',
  'already_exists',
  'blocked',
  'busy',
  'permission_denied',
  'unsupported',
  'invalid_image',
  'not_a_pool',
]);

function hasDoneNothing(error: unknown): boolean {
  if (error instanceof CoppiceError) return harmless.has(error.code);
  return error instanceof ConnectError && error.code !== Code.Internal;
}

function requireSame(known: string, fingerprint: string): void {
  if (known === fingerprint) return;
  throw badRequest([{ field: 'request_id', description: 'was used for another request; make a new one' }]);
}

/** 64 characters, which is also what a mark may have. */
function digest(...parts: ReadonlyArray<string | Uint8Array>): string {
  const hash = createHash('sha256');
  for (const part of parts) {
    hash.update(`${part.length}:`);
    hash.update(part);
  }
  return hash.digest('hex');
}
