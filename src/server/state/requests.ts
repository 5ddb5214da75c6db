import { createHash } from 'node:crypto';
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
}

export interface OnceSteps<R extends DescMessage> {
  readonly response: R;
  /** Does it. @param mark what is made shall carry, so that `find` knows it */
  readonly run: (mark: string, note: (text: string) => Promise<void>) => Promise<MessageShape<R>>;
  /**
   * Whether an attempt that was interrupted has had its effect: its answer; undefined when it has not, and it can be run again.
   * @param noted what `run` has noted before
   */
  readonly find: (mark: string, noted: string) => Promise<MessageShape<R> | undefined>;
}

/** Has a request that comes twice happen once, and gives the same answer again. */
export class Requests {
  readonly #state: State;
  readonly #underWay = new Map<string, { readonly fingerprint: string; readonly answer: Promise<unknown> }>();

  constructor(state: State) {
    this.#state = state;
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
    const answer = this.#run(key, fingerprint, steps).finally(() => this.#underWay.delete(key));
    this.#underWay.set(key, { fingerprint, answer });
    return answer;
  }

  async #run<R extends DescMessage>(
    key: string,
    fingerprint: string,
    { response, run, find }: OnceSteps<R>,
  ): Promise<MessageShape<R>> {
    const stored = await this.#state.begin(key, fingerprint);
    if (stored) requireSame(stored.fingerprint, fingerprint);
    if (stored?.answer) return fromBinary(response, stored.answer);
    let answer = stored && (await find(key, stored.note));
    try {
      answer ??= await run(key, (text) => this.#state.note(key, text));
    } catch (error) {
      // An attempt of the same id may have had its effect all the same, and failed after it.
      const isTaken = error instanceof CoppiceError && error.code === 'already_exists';
      answer = isTaken ? await find(key, '') : undefined;
      if (!answer) {
        // Where something may have happened all the same, a retry looks for it, with what was noted.
        if (hasDoneNothing(error)) await this.#state.forget(key).catch(() => {});
        throw error;
      }
    }
    // Where it can't be written, a retry finds out what has happened. It has, which is what the answer says.
    await this.#state.answer(key, toBinary(response, answer)).catch(() => {});
    return answer;
  }
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
