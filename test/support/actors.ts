import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { ActorMessage, ActorRequest } from './actor-process.ts';
import { bundle } from './bundle.ts';
import { dieAtVariable } from './dying.ts';
import type { Event } from './histories.ts';
import { clockVariable } from './shifted-clock.ts';

/** One process after the other: each does random operations until it is killed, and the next goes on behind the one it died in. */
export interface ActorPlan {
  readonly seed: number;
  /** In the calling thread, one after the other; or in threads, as many at the same time as there are lanes. */
  readonly mode: 'inline' | 'workers';
  readonly lanes: number;
  /** How many operations each lane does. */
  readonly operations: number;
  /** At which of its system calls each process dies; the last, for which there is no number, lives. */
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

/** Runs an actor to its end. */
export async function play(plan: ActorPlan, pool: string, scratch: string): Promise<Played> {
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
    const died = await live(request, histories, {
      [dieAtVariable]: String(plan.deaths[life] ?? 0),
      [clockVariable]: String(plan.clocks?.[life % plan.clocks.length] ?? 0),
    });
    if (!died) return { histories, deaths: life };
  }
}

/** Adds to the histories what a process says. Returns whether it was killed. */
async function live(
  request: ActorRequest,
  histories: ReadonlyArray<Event[]>,
  environment: NodeJS.ProcessEnv,
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

export function actorPrograms(): string {
  return bundle('actors', {
    actor: 'test/support/actor-process.ts',
    worker: 'test/support/actor-worker.ts',
    command: 'test/support/actor-command.ts',
  });
}
