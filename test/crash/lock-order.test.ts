import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';
import { finished, type RunningChild, startChild } from './run-child.ts';

/** Removals that name the same volumes in another way never wait for each other in a circle. */

let home: TestPool;
let children: RunningChild[] = [];

beforeAll(async () => {
  home = await makeTestPool();
});

afterEach(async () => {
  for (const child of children) {
    child.process.kill('SIGKILL');
    await child.outcome().catch(() => {}); // a test has looked at it
  }
  children = [];
  await home.pool.remove(['dd-1', 'dd-10'], { withSnapshots: true, ifExists: true });
});

afterAll(() => home[Symbol.asyncDispose]());

/** As text, "dd-10" is before "dd-1@s" and behind "dd-1": whoever sorts so takes the two locks in both orders. */
const snapshotAndVolume = ['remove', ['dd-1@s', 'dd-10'], { ifExists: true }] as const;
const twoVolumes = ['remove', ['dd-10', 'dd-1'], { withSnapshots: true, ifExists: true }] as const;

test.each([
  { one: snapshotAndVolume, other: twoVolumes },
  { one: twoVolumes, other: snapshotAndVolume },
])('a removal of $other.1 waits for one of $one.1 that has a lock, and both end', async ({ one, other }) => {
  for (const name of ['dd-1', 'dd-10']) await home.pool.create(name, { bytes: 4096 });
  await home.pool.snapshot('dd-1@s');

  const first = start({ pool: home.path, call: one, pause: true });
  const steps = first.messages()[Symbol.asyncIterator]();
  while (!/^flock/.test(await nextStep(steps))) proceed(first);
  proceed(first);
  await nextStep(steps); // it has its first lock

  const second = start({ pool: home.path, call: other });
  const outcome = finished(second);
  await waitingOrDone(second, outcome);

  for (let ended = false; !ended; ) {
    proceed(first);
    const message = nextStep(steps);
    if (await inACircle(message, [first, second])) throw new Error('Each waits for a lock of the other.');
    ended = (await message) === 'ended';
  }
  expect((await first.outcome()).died).toBe(false);
  expect((await outcome).died).toBe(false);
});

function start(request: Parameters<typeof startChild>[0]): RunningChild {
  const child = startChild(request);
  children.push(child);
  return child;
}

type Messages = AsyncIterator<{ readonly step: string } | object>;

/** The step that it is about to take; `ended` when it takes no more. */
async function nextStep(messages: Messages): Promise<string> {
  const { value, done } = await messages.next();
  return !done && 'step' in value ? value.step : 'ended';
}

function proceed(child: RunningChild): void {
  child.process.stdin?.write('.');
}

/** Until the kernel has it waiting for a lock, or it has ended. */
async function waitingOrDone(child: RunningChild, outcome: Promise<unknown>): Promise<void> {
  let done = false;
  outcome.then(
    () => (done = true),
    () => (done = true),
  );
  while (!done && !isWaiting(child)) await new Promise(setImmediate);
}

/** Whether all wait for locks before the next message comes. */
async function inACircle(message: Promise<string>, all: readonly RunningChild[]): Promise<boolean> {
  let come = false;
  message.then(
    () => (come = true),
    () => (come = true),
  );
  while (!come) {
    if (all.every(isWaiting)) return true;
    await new Promise(setImmediate);
  }
  return false;
}

function isWaiting({ process }: RunningChild): boolean {
  return new RegExp(`-> FLOCK .* ${process.pid} `).test(readFileSync('/proc/locks', 'utf8'));
}
