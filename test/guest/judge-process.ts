import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openPool } from '../../src/index.ts';
import type { ActorMessage } from '../support/actor-process.ts';
import { type Event, findContradiction } from '../support/histories.ts';
import { canonical, type ModelState, type Operation } from '../support/model.ts';
import { observe } from '../support/perform.ts';
import { stagedIn } from '../support/zfs-pool.ts';

/**
 * Looks, after a power cut, whether a pool holds what the history of the operations before it says, and writes down what is wrong.
 * Usage: judge-process.ts POOL DIRECTORY [clear]
 */
const [path = '', directory = '', clear] = process.argv.slice(2);

const file = (name: string): string => join(directory, name);
const text = (name: string): string => (existsSync(file(name)) ? readFileSync(file(name), 'utf8') : '');

await using pool = await openPool(path, { inline: true, lockTimeout: 60_000 });
const before = JSON.parse(text('before') || '{}') as ModelState;
const state = await observe(pool);
const problems = [
  findContradiction([history()], before, state) ?? '',
  ...(await pool.check()).filter(({ severity }) => severity === 'error').map(({ message }) => message),
  ...stagedIn(path).map((name) => `left in staging: ${name}`),
].filter(Boolean);
writeFileSync(file('state'), canonical(state));

if (clear) {
  // In whatever order: clones and templates, snapshots and what was rolled back.
  const names = (await pool.list()).map(({ name }) => name).sort((a, b) => (a + b < b + a ? 1 : -1));
  for (const name of names) await pool.remove(name, { withSnapshots: true });
  const left = (await pool.describe()).tombstones;
  if (left > 0) problems.push(`${left} tombstones are left of a pool that is empty`);
}
writeFileSync(file('verdict'), problems.join('\n'));

/** What the process before the cut said; of the last operation perhaps only that it began. */
function history(): Event[] {
  const events: Event[] = [];
  let begun: { readonly operation: Operation; readonly started: bigint } | undefined;
  for (const line of text('history').split('\n')) {
    const message = parse(line);
    if (!message) continue;
    if ('operation' in message) begun = { operation: message.operation, started: BigInt(message.started) };
    else if (begun) {
      events.push({ ...begun, outcome: message.outcome ?? undefined, ended: BigInt(message.ended) });
      begun = undefined;
    }
  }
  if (begun) events.push({ ...begun, ended: begun.started + 1n });
  return events;
}

function parse(line: string): ActorMessage | undefined {
  try {
    return JSON.parse(line) as ActorMessage;
  } catch {
    return undefined; // the last line may be cut
  }
}
