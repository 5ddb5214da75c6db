import { setTimeout as pause } from 'node:timers/promises';
import { type ProcessIdentity, readProcess } from '../../linux/processes.ts';
import { CoppiceError } from '../../model/errors.ts';
import { openPool } from '../open-pool.ts';
import { endFamily } from './family.ts';
import type { SupervisorPlan } from './supervisor.ts';

/**
 * A process of its own, outside of the volume and of whoever tries a change to it: undoes the change when it is told to, or when that one
 * has died, by whatever. It waits until nothing has the volume open: whoever tries it may itself live in there.
 * Usage: guard-supervisor PLAN, with a standard input that ends when the other dies
 */

const plan = JSON.parse(process.argv[2] ?? '') as SupervisorPlan;

/** Milliseconds between two looks; and until it is left to a person. */
const [between, patience] = [200, 600_000];

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
  end(() => endFamily(plan.id, running));
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
