import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { fileSystems } from '../conformance/backends.ts';
import type { TestPool } from '../support/test-pool.ts';
import { importBase } from './making.ts';
import { poolInMemory } from './pool-in-memory.ts';
import { startChild } from './run-child.ts';
import { killedOn, prepared } from './scenarios.ts';

/** What tests of kills rely on: a step that is said to change nothing has changed nothing that others can see. */

for (const backend of fileSystems) {
  let shared: TestPool;

  beforeAll(async () => {
    shared = await poolInMemory(backend);
    await importBase(shared.pool, shared.scratch);
  });

  afterAll(() => shared[Symbol.asyncDispose]());

  test.each(killedOn(backend))(
    `the steps of $name that change something on ${backend.name} are known`,
    async (scenario) => {
      await prepared(scenario, shared.pool, shared.scratch);
      const child = startChild({
        pool: shared.path,
        call: scenario.call(shared.pool, shared.scratch),
        pause: true,
      });
      const before: string[] = [];
      for await (const message of child.messages()) {
        before.push(visibleIn(shared.path));
        if ('step' in message) child.process.stdin?.write('.');
      }
      const { steps, changing } = await child.outcome();
      // What a program does beside it may become visible at any step.
      const alone = steps.findIndex((step) => step.startsWith('spawn '));
      const unknown = steps.filter(
        (_, index) =>
          before[index] !== before[index + 1] &&
          !changing.includes(index + 1) &&
          (alone < 0 || index < alone),
      );
      expect(unknown).toEqual([]);
      expect(changing.length).toBeLessThan(steps.length);
    },
  );
}

/** Every name in a directory, and all that the kernel tells of it but when it was read. */
function visibleIn(directory: string): string {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => {
      const { ino, mode, uid, gid, nlink, size, blocks, ctimeMs } = lstatSync(join(directory, name));
      return [name, ino, mode, uid, gid, nlink, size, blocks, ctimeMs].join(' ');
    })
    .join('\n');
}
