import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { openPool } from '../../src/index.ts';
import type { ActorMessage, ActorRequest } from './actor-process.ts';
import { actorPrograms } from './actor-programs.ts';
import { commandPool, Died } from './command-pool.ts';
import { dieAtVariable } from './dying.ts';
import type { Event } from './histories.ts';
import { perform } from './perform.ts';
import { randomNumbers, randomOperation } from './random-operations.ts';
import { clockVariable } from './shifted-clock.ts';

/** One process after the other: each does random operations until it is killed, and the next goes on behind the one it died in. */
export interface ActorPlan {
  readonly seed: number;
  /** In the calling thread, one after the other; in threads, as many at the same time as there are lanes; or by the command line. */
  readonly mode: 'inline' | 'workers' | 'command';
  readonly lanes: number;
  /** How many operations each lane does. */
  readonly operations: number;
  /** At which of its system calls each process dies; one for which there is no number, or 0, lives. */
  readonly deaths: readonly number[];
  /** Milliseconds that the clock of each process is ahead of the real one. */
  readonly clocks?: readonly number[];
}

export interface Played {
  /** One for each lane. */
  readonly histories: ReadonlyArray<readonly Event[]>;
  /** How many processes were killed. */
  readonly deaths: number;
}

/**
 * Runs actors at the same time, each to its end.
 * @param scratch a directory outside the pool
 * @param heard is called for each operation that has ended
 */
export async function play(
  cast: readonly ActorPlan[],
  pool: string,
  scratch: string,
  heard: () => void = () => {},
): Promise<Played> {
  const actors = await Promise.allSettled(cast.map((plan) => playOne(plan, pool, scratch, heard)));
  // Only now, when none of them works in the pool any more.
  const played = actors.map((actor) => {
    if (actor.status === 'rejected') throw actor.reason;
    return actor.value;
  });
  return {
    histories: played.flatMap(({ histories }) => histories),
    deaths: played.reduce((sum, { deaths }) => sum + deaths, 0),
  };
}

async function playOne(plan: ActorPlan, pool: string, scratch: string, heard: () => void): Promise<Played> {
  if (plan.mode === 'command') return playCommands(plan, pool, scratch, heard);
  const histories: Event[][] = Array.from({ length: plan.lanes }, () => []);
  for (let life = 0; ; life++) {
    const request: ActorRequest = {
      pool,
      scratch,
      inline: plan.mode === 'inline',
      lanes: histories.map(({ length }, lane) => ({
        seed: plan.seed * 100 + lane,
        from: length,
        to: plan.operations,
      })),
    };
    const died = await live(request, histories, environmentOf(plan, life), heard);
    if (!died) return { histories, deaths: life };
  }
}

function environmentOf(plan: ActorPlan, life: number): NodeJS.ProcessEnv {
  return {
    [dieAtVariable]: String(plan.deaths[life] ?? 0),
    [clockVariable]: String(plan.clocks?.[life % plan.clocks.length] ?? 0),
  };
}

/** Each operation is a process. What guests write, this process writes. */
async function playCommands(
  plan: ActorPlan,
  path: string,
  scratch: string,
  heard: () => void,
): Promise<Played> {
  await using pool = await openPool(path, { inline: true, lockTimeout: 60_000 });
  const events: Event[] = [];
  const commands = commandPool(pool, () => environmentOf(plan, events.length));
  const random = randomNumbers(plan.seed * 100);
  let deaths = 0;
  while (events.length < plan.operations) {
    const operation = randomOperation(random);
    const started = process.hrtime.bigint();
    const outcome = await perform(commands, operation, scratch).catch((error: unknown) => {
      if (!(error instanceof Died)) throw error;
      deaths++;
      return undefined;
    });
    events.push({ operation, outcome, started, ended: process.hrtime.bigint() });
    heard();
  }
  return { histories: [events], deaths };
}

/** Adds to the histories what a process says. Returns whether it was killed. */
async function live(
  request: ActorRequest,
  histories: ReadonlyArray<Event[]>,
  environment: NodeJS.ProcessEnv,
  heard: () => void,
): Promise<boolean> {
  const child = spawn(process.execPath, [join(actorPrograms(), 'actor.js'), JSON.stringify(request)], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk;
  });
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal }));
  });
  const begun = new Map<number, Pick<Event, 'operation' | 'started'>>();
  for await (const line of createInterface({ input: child.stdout })) {
    const message = parse(line);
    if (!message) break;
    if ('operation' in message) {
      const { lane, operation, started } = message;
      begun.set(lane, { operation, started: BigInt(started) });
      continue;
    }
    const event = begun.get(message.lane);
    begun.delete(message.lane);
    heard();
    if (event)
      histories[message.lane]?.push({
        ...event,
        outcome: message.outcome ?? undefined,
        ended: BigInt(message.ended),
      });
  }
  const { code, signal } = await ended;
  if (signal !== 'SIGKILL' && code !== 0) throw new Error(`An actor failed: ${signal ?? code} ${errors}`);
  // All its threads have ended by now, so nothing of it happens later.
  for (const [lane, event] of begun) histories[lane]?.push({ ...event, ended: process.hrtime.bigint() });
  return signal === 'SIGKILL';
}

/** The last line of a process that was killed may be cut. */
function parse(line: string): ActorMessage | undefined {
  try {
    return JSON.parse(line) as ActorMessage;
  } catch {
    return undefined;
  }
}
