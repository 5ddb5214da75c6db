import { appendFileSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { scratchDirectory } from '../../../test/support/devices.ts';
import { Others } from './others.ts';

/** Whoever follows the log hears every line from the moment on at which he begins, whatever becomes of the file. */

test('tells nothing of what was there before, and all that comes after', async () => {
  const log = place();
  append(log, 'before');
  await using heard = follow(log);
  append(log, 'first');
  await heard.until('first');
  append(log, 'second', 'third');
  await heard.until('third');
  expect(heard.names).toEqual(['first', 'second', 'third']);
});

test('tells the first lines of a log that others make later, with and without its directory', async () => {
  for (const log of [place(), join(place(), 'later', 'audit.jsonl')]) {
    await using heard = follow(log);
    // As on a busy machine: the file is there for a while until it is noticed.
    mkdirSync(join(log, '..'), { recursive: true });
    append(log, 'first');
    append(log, 'second');
    await heard.until('second');
    expect(heard.names).toEqual(['first', 'second']);
  }
});

test('goes on with the new log after a rotation, and after it was emptied', async () => {
  const log = place();
  await using heard = follow(log);
  append(log, 'first');
  await heard.until('first');
  append(log, 'last of the old');
  renameSync(log, `${log}.1`);
  append(log, 'first of the new');
  await heard.until('first of the new');
  writeFileSync(log, '');
  append(log, 'x');
  await heard.until('x');
  expect(heard.names).toEqual(['first', 'last of the old', 'first of the new', 'x']);
});

test('passes over lines of its own and what is no line', async () => {
  const log = place();
  await using heard = follow(log);
  append(log, 'own', 'theirs');
  appendFileSync(log, '{"names": [\n"text"\n');
  append(log, 'after');
  await heard.until('after');
  expect(heard.names).toEqual(['theirs', 'after']);
});

function place(): string {
  return join(scratchDirectory('others'), 'audit.jsonl');
}

function append(log: string, ...names: readonly string[]): void {
  appendFileSync(log, names.map((name) => `${JSON.stringify({ names: [name] })}\n`).join(''));
}

function follow(log: string): {
  readonly names: readonly string[];
  until(name: string): Promise<void>;
} & AsyncDisposable {
  const names: string[] = [];
  const others = new Others(
    log,
    (entry) => names.push(...(entry.names ?? [])),
    (line) => line.includes('"own"'),
  );
  return {
    names,
    async until(name) {
      for (let tries = 0; !names.includes(name); tries++) {
        if (tries > 500) throw new Error(`never heard of ${name}, but of ${names.join(', ')}`);
        await delay(20);
      }
    },
    [Symbol.asyncDispose]: () => others[Symbol.asyncDispose](),
  };
}
