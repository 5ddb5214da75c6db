import './shifted-clock.ts';
import './dying.ts';
import { openPool } from '../../src/index.ts';
import type { Operation, Outcome } from './model.ts';
import { perform } from './perform.ts';
import { randomNumbers, randomOperation } from './random-operations.ts';

/** A process that does random operations on a pool, and says of each that it begins, and then what came of it. */

export interface ActorRequest {
  readonly pool: string;
  readonly scratch: string;
  readonly inline: boolean;
  /** What is done at the same time, each one operation after the other: those of the seed from `from` to before `to`. */
  readonly lanes: ReadonlyArray<{ readonly seed: number; readonly from: number; readonly to: number }>;
}

/** One JSON line each. Times are of the clock that all processes share. */
export type ActorMessage =
  | { readonly lane: number; readonly operation: Operation; readonly started: string }
  | { readonly lane: number; readonly outcome: Outcome | null; readonly ended: string };

const request = JSON.parse(process.argv[2] ?? '') as ActorRequest;

function say(message: ActorMessage): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

await using pool = await openPool(request.pool, { inline: request.inline, lockTimeout: 60_000 });
await Promise.all(
  request.lanes.map(async ({ seed, from, to }, lane) => {
    const random = randomNumbers(seed);
    for (let index = 0; index < to; index++) {
      const operation = randomOperation(random);
      if (index < from) continue;
      say({ lane, operation, started: String(process.hrtime.bigint()) });
      const outcome = await perform(pool, operation, request.scratch);
      say({ lane, outcome: outcome ?? null, ended: String(process.hrtime.bigint()) });
    }
  }),
);
