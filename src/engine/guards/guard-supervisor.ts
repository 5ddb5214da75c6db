import { setTimeout as pause } from 'node:timers/promises';
import { isEnded, type ProcessIdentity, readProcess, readProcesses } from '../../linux/processes.ts';
import { CoppiceError } from '../../model/errors.ts';
import { openPool } from '../open-pool.ts';
import type { SupervisorPlan } from './supervisor.ts';

/**
 * A process of its own, outside of the volume and of whoever tries a change to it: undoes the change when it is told to, or when that one
 * has died, by whatever. It waits until nothing has the volume open: whoever tries it may itself live in there.
 * Usage: guard-supervisor PLAN, with a standard input that ends when the other dies
 */

const plan = JSON.parse(process.argv[2] ?? '') as SupervisorPlan;

/** Milliseconds that what the change has started has to end by itself; between two looks; and until it is left to a person. */
const [grace, between, patience] = [5_000, 200, 600_000];

let running: ProcessIdentity | undefined;
let text = '';
let isOver = false;

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined);
process.stdin.on('data', (chunk) => {
  const lines = `${text}${chunk}`.split('\n');
  text = lines.pop() ?? '';
  for (const line of lines) hear(line);
});
process.stdin.on('error', died);
process.stdin.on('close', died);
process.stdout.on('error', () => undefined);
process.stdout.write('ready\n');

function hear(line: string): void {
  const [word, pid] = line.split(' ');
  if (word === 'done') process.exit(0);
  if (word === 'runs') running = readProcess(Number(pid));
  if (word === 'undo') end();
}

/** Whoever is told nothing any more may have left behind what it was running. */
function died(): void {
  if (isOver) return;
  end(async () => {
    await endAll('SIGTERM', grace);
    await endAll('SIGKILL', grace);
  });
}

function end(before: () => Promise<void> = async () => undefined): void {
  isOver = true;
  void before()
    .then(undo)
    .then(
      () => process.exit(0),
      () => process.exit(1),
    );
}

async function undo(): Promise<void> {
  const until = performance.now() + patience;
  await using pool = await openPool(plan.pool, { inline: true, program: 'guard' });
  for (;;) {
    try {
      await pool.recoverGuard(plan.volume, 'undo', plan.id);
      return;
    } catch (error) {
      if (!(error instanceof CoppiceError)) throw error;
      if (error.code === 'not_found') return;
      if (!['blocked', 'busy'].includes(error.code) || performance.now() > until) throw error;
    }
    await pause(between);
  }
}

async function endAll(signal: NodeJS.Signals, patience: number): Promise<void> {
  const family = familyOf(running);
  for (const { pid } of family) {
    try {
      process.kill(pid, signal);
    } catch {
      // It has ended.
    }
  }
  const until = performance.now() + patience;
  while (family.some(isThere) && performance.now() < until) await pause(between);
}

/** A process and all that it has started, directly or not; as far as they have not been orphaned. */
function familyOf(head: ProcessIdentity | undefined): ProcessIdentity[] {
  if (!head || !isThere(head)) return [];
  const all = readProcesses();
  const family = [head];
  for (let index = 0; index < family.length; index++)
    family.push(...all.filter(({ parent }) => parent === family[index]?.pid));
  return family;
}

function isThere({ pid, started }: ProcessIdentity): boolean {
  const found = readProcess(pid);
  return found?.started === started && !isEnded(found);
}
