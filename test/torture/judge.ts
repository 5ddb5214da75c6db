import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { doctor, openPool } from '../../src/index.ts';
import { readAttributeByPath } from '../../src/linux/attributes.ts';
import { type Event, findContradiction } from '../support/histories.ts';
import { canonical, type ModelState } from '../support/model.ts';
import { observe } from '../support/perform.ts';
import { observeFiles } from './observe-files.ts';
import type { Image } from './world.ts';

/**
 * Opens a pool as the next process would, and looks whether all is well with it. Returns what it holds, byte for byte.
 * @throws when anything is left over, damaged, or not what the pool says itself
 */
export async function settledState(path: string): Promise<ModelState> {
  await using pool = await openPool(path, { inline: true, lockTimeout: 60_000 });
  const left = [...entriesOf(path, '.staging'), ...entriesOf(path, '.tombstones').filter(isNoRecord)];
  if (left.length > 0) throw new Error(`left over: ${left.join(', ')}`);
  const wrong = (await pool.check()).filter(({ severity }) => severity === 'error');
  if (wrong.length > 0) throw new Error(`pool check: ${wrong.map(({ message }) => message).join(' ')}`);
  const [said, found] = [await observe(pool), observeFiles(path)];
  if (canonical(said) !== canonical(found))
    throw new Error(`the pool says ${canonical(said)}, and its files are ${canonical(found)}`);
  return found;
}

function entriesOf(path: string, area: string): string[] {
  return readdirSync(join(path, area)).map((id) => join(path, area, id));
}

/** Of what was removed, only a record of lineage may stay, and that has no data. */
function isNoRecord(entry: string): boolean {
  const attribute = readAttributeByPath(entry, 'user.coppice')?.toString() ?? '{}';
  const { type } = JSON.parse(attribute) as { readonly type?: unknown };
  return type !== 'tombstone' || readdirSync(entry).length > 0;
}

/** @throws what the doctor finds wrong with a pool; what it finds on the host is not about the pool */
export async function expectHealthy(path: string): Promise<void> {
  const { findings } = await doctor(path);
  const wrong = findings.filter(
    ({ id, severity, subject }) =>
      severity === 'error' && (subject.startsWith(path) || id.startsWith('pool')),
  );
  if (wrong.length > 0) throw new Error(`doctor: ${wrong.map(({ message }) => message).join(' ')}`);
}

/** @throws when no order of what was done explains what was said and what is there */
export function expectExplained(
  histories: ReadonlyArray<readonly Event[]>,
  initial: ModelState,
  final: ModelState,
): void {
  const contradiction = findContradiction(histories, initial, final);
  if (contradiction !== undefined) throw new Error(`no order explains it: ${contradiction}`);
}

/**
 * What an image must be explained by: what had been done before it holds, what was under way was done or not, and what began later
 * was not. Refusals and exports change nothing, and may come from what others had not made durable yet.
 */
export function untilImage(
  histories: ReadonlyArray<readonly Event[]>,
  image: Image,
): ReadonlyArray<readonly Event[]> {
  return histories.map((events) =>
    events
      .filter(({ started, operation, outcome }) => {
        const changes = operation.kind !== 'export' && !(outcome && 'failed' in outcome);
        return started <= image.before && changes;
      })
      .map((event) => (event.ended < image.after ? event : { ...event, outcome: undefined })),
  );
}
