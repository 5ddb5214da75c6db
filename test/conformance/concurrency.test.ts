import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { openPool } from '../../src/index.ts';
import { type ActorPlan, play } from '../support/actors.ts';
import { digest, digestOf, patternBytes, writePattern } from '../support/content.ts';
import { refusal } from '../support/errors.ts';
import { type Event, findContradiction } from '../support/histories.ts';
import { explain, type ModelState, type Operation, type Outcome } from '../support/model.ts';
import { observe, perform } from '../support/perform.ts';
import { randomNumbers, randomOperation } from '../support/random-operations.ts';
import { conformance, staged } from './suite.ts';

const MiB = 2 ** 20;
const long = process.env['COPPICE_LONG'] === '1';
const quick = process.env['COPPICE_QUICK'] === '1';
const scale = long ? 20 : quick ? 0.25 : 1;

conformance('concurrency', (suite) => {
  const operations = Math.ceil(60 * Math.max(suite.backend.scale, 0.25));
  const emptied = async (): Promise<void> => {
    const names = (await suite.pool.list()).map((volume) => volume.name);
    await suite.pool.remove(names, { withSnapshots: true });
  };

  test('one process: every random sequence does what the model says', async () => {
    const operation = fc.integer().map((seed): Operation => randomOperation(randomNumbers(seed)));
    await fc.assert(
      fc.asyncProperty(
        fc.array(operation, { minLength: 5, maxLength: 25, size: 'max' }),
        async (operations) => {
          await emptied();
          let state: ModelState = {};
          for (const [index, each] of operations.entries()) {
            const outcome = await perform(suite.pool, each, suite.scratch);
            const [after] = explain(state, each, outcome);
            expect(after, `step ${index}: ${JSON.stringify({ each, outcome, state })}`).toBeDefined();
            state = after ?? state;
          }
          expect(await observe(suite.pool)).toEqual(state);
          expect(staged(suite.home)).toEqual([]);
          expect((await suite.pool.check()).filter((finding) => finding.severity === 'error')).toEqual([]);
        },
      ),
      { numRuns: Math.ceil(40 * scale * suite.backend.scale) },
    );
  });

  test.each(['inline', 'workers'] as const)(
    'four processes (%s): what each was told, and what is there in the end, has an explanation one at a time',
    async (mode) => {
      for (let round = 0; round < Math.ceil(2 * scale * suite.backend.scale); round++) {
        await emptied();
        const cast = [1, 2, 3, 4].map(
          (each): ActorPlan => ({ seed: round * 10 + each, mode, lanes: 1, operations, deaths: [] }),
        );
        const { histories } = await play(cast, suite.home.path, suite.scratch);
        expect(codes(histories), 'no operation may give up').not.toContain('busy');
        expect(messagesOf(histories, 'io_error')).toEqual([]);
        expect(findContradiction(histories, {}, await observe(suite.pool))).toBeUndefined();
        expect(staged(suite.home)).toEqual([]);
        for (const { name } of await suite.pool.list())
          expect((await suite.pool.show(name)).problems, name).toEqual([]);
      }
    },
  );

  test('one process with many operations in flight in its threads: the same', async () => {
    await emptied();
    await using pool = await openPool(suite.home.path, { lockTimeout: 60_000 });
    const histories = await Promise.all(
      [1, 2, 3, 4].map(async (lane) => {
        const random = randomNumbers(lane + 500);
        const events: Event[] = [];
        for (let done = 0; done < operations * scale; done++) {
          const operation = randomOperation(random);
          const started = process.hrtime.bigint();
          const outcome = await perform(pool, operation, suite.scratch);
          events.push({ operation, outcome, started, ended: process.hrtime.bigint() });
        }
        return events;
      }),
    );
    expect(codes(histories)).not.toContain('busy');
    expect(findContradiction(histories, {}, await observe(suite.pool))).toBeUndefined();
  });

  test('the search for an explanation finds a lie', async () => {
    const at = (operation: Operation, outcome: Outcome, started: number, ended: number): Event => ({
      operation,
      outcome,
      started: BigInt(started),
      ended: BigInt(ended),
    });
    const create = { kind: 'create', name: 'a', blocks: 1 } as const;
    const bytes = suite.backend.sizeUnit;
    const both = [[at(create, { bytes }, 0, 10)], [at(create, { bytes }, 5, 15)]];
    const a = { a: { bytes, written: {}, sealed: false, snapshots: {} } };
    expect(findContradiction(both, {}, a)).toMatch(/stuck/);
    const late = { failed: 'already_exists', message: '' } as const;
    expect(findContradiction([both[0] ?? [], [at(create, late, 5, 15)]], {}, a)).toBeUndefined();
    // What ended before the other began can't be explained by it.
    expect(findContradiction([both[0] ?? [], [at(create, late, -9, -5)]], {}, a)).toMatch(/stuck/);
    expect(findContradiction([both[0] ?? []], {}, {})).toMatch(/at the end/);
  });

  describe.each(['inline', 'workers'] as const)('during an import (%s)', (mode) => {
    test('clones of its template wait for it: one import, all clones, whatever the order they come in', async () => {
      await using pool = await openPool(suite.home.path, { inline: mode === 'inline', lockTimeout: 60_000 });
      const image = join(suite.scratch, suite.name('image'));
      writeFileSync(image, patternBytes(1, 12 * MiB));
      const template = suite.name('t');
      let begun = (): void => {};
      const started = new Promise<void>((resolve) => {
        begun = resolve;
      });
      const imported = pool.import(template, image, {
        // While it waits for its turn, another may still come first.
        onProgress: ({ step }) => {
          if (step !== 'waiting') begun();
        },
      });
      await started;
      const names = Array.from({ length: 16 }, () => suite.name('clone'));
      const clones = names.map((name) => pool.clone(template, name));
      const second = refusal(() => pool.import(template, image), 'already_exists');
      expect((await imported).bytes).toBe(12 * MiB);
      await Promise.all(clones);
      await second;
      for (const name of names)
        expect(digest(await pool.diskPath(name))).toBe(digestOf(patternBytes(1, 12 * MiB)));
    });

    test('that fails, those who waited are told that there is no such template', async () => {
      await using pool = await openPool(suite.home.path, { inline: mode === 'inline', lockTimeout: 60_000 });
      const image = join(suite.scratch, suite.name('image'));
      writeFileSync(image, patternBytes(2, 12 * MiB));
      const template = suite.name('t');
      const waiting: Array<Promise<unknown>> = [];
      await refusal(
        () =>
          pool.import(template, image, {
            sha256: '0'.repeat(64),
            onProgress: () => {
              if (waiting.length > 0) return;
              waiting.push(refusal(() => pool.clone(template, suite.name()), 'not_found'));
            },
          }),
        'checksum_mismatch',
      );
      expect(waiting).toHaveLength(1);
      await Promise.all(waiting);
    });
  });

  test('two processes import one name: the work is done once', async () => {
    const image = join(suite.scratch, suite.name('image'));
    writeFileSync(image, patternBytes(3, 24 * MiB));
    const template = suite.name('t');
    const module = new URL('../../src/index.ts', import.meta.url).href;
    const script = `
      const { openPool } = await import(${JSON.stringify(module)});
      const pool = await openPool(${JSON.stringify(suite.home.path)}, { inline: true });
      await pool.import(${JSON.stringify(template)}, ${JSON.stringify(image)}).then(
        () => console.log('imported'),
        (error) => console.log(error.code),
      );
      await pool.close();
    `;
    const answers = await Promise.all(
      [1, 2, 3].map(() => linesOf(spawn(process.execPath, ['--input-type=module', '-e', script], piped))),
    );
    expect(answers.flat().sort()).toEqual(['already_exists', 'already_exists', 'imported']);
    expect(digest(await suite.pool.diskPath(template))).toBe(digest(image));
  });

  test('a template is cloned while another process writes to the volume that it was sealed from', async () => {
    const { name, path } = await suite.volume();
    const bytes = writePattern(path, 4, 0, MiB);
    const template = suite.name('t');
    await suite.pool.seal(name, template);
    await using pool = await openPool(suite.home.path);
    const clones = Promise.all(Array.from({ length: 50 }, () => pool.clone(template, suite.name())));
    for (let seed = 0; seed < 20; seed++) writePattern(path, seed, 0, MiB);
    for (const clone of await clones) expect(digest(await pool.diskPath(clone.name))).toBe(digestOf(bytes));
  });

  test('a template that is cloned without a pause can be renamed, and nobody holds it when the clones have ended', async () => {
    const { name } = await suite.volume();
    const [before, after] = [suite.name('t'), suite.name('t')];
    await suite.pool.seal(name, before);
    await using pool = await openPool(suite.home.path);
    // Its lock is shared by the clones that a thread makes in a row; this one does not wait for it at all.
    await using impatient = await openPool(suite.home.path, { lockTimeout: 0 });
    const clones = (template: string): Promise<unknown>[] =>
      Array.from({ length: 8 }, () => pool.clone(template, suite.name(), { durability: 'deferred' }));

    await Promise.all(clones(before));
    await impatient.rename(before, after);
    let renamed = false;
    const lane = async (): Promise<void> => {
      while (!renamed) await pool.clone(after, suite.name(), { durability: 'deferred' });
    };
    const lanes = Promise.allSettled(Array.from({ length: 8 }, lane));
    await suite.pool.rename(after, before);
    renamed = true;
    for (const outcome of await lanes)
      if (outcome.status === 'rejected') await refusal(() => Promise.reject(outcome.reason), 'not_found');

    const [answers] = await Promise.all([
      Promise.allSettled(clones(before)),
      pool.remove(before, { durability: 'deferred' }),
    ]);
    for (const outcome of answers)
      if (outcome.status === 'rejected') await refusal(() => Promise.reject(outcome.reason), 'not_found');
  });
});

describe('an open pool', () => {
  conformance('as a handle', (suite) => {
    test.each([true, false])(
      '(inline: %s) can be closed twice, waits for what is under way, and then refuses',
      async (inline) => {
        const pool = await openPool(suite.home.path, { inline });
        const names = Array.from({ length: 20 }, () => suite.name());
        const created = names.map((name) => pool.create(name, { bytes: MiB }));
        await Promise.all([pool.close(), pool.close()]);
        await Promise.all(created);
        await pool.close();
        await refusal(() => pool.create(suite.name(), { bytes: MiB }), 'cancelled');
        await refusal(() => pool.list(), 'cancelled');
        await refusal(() => pool.sync(), 'cancelled');
        const present = (await suite.pool.list()).map((volume) => volume.name);
        expect(present).toEqual(expect.arrayContaining(names));
      },
    );

    test('refuses what is no plain value, and goes on', async () => {
      const pool = await openPool(suite.home.path);
      try {
        const itself: Record<string, unknown> = { bytes: MiB };
        itself['itself'] = itself;
        const wrong = [10n as unknown as number, Number.NaN, '1M' as unknown as number];
        for (const bytes of wrong) {
          await refusal(() => pool.create(suite.name(), { bytes }), 'invalid_argument');
        }
        await refusal(() => pool.clone(suite.name(), suite.name(), itself), 'invalid_argument');
        expect(await pool.list()).toEqual(await suite.pool.list());
      } finally {
        await pool.close();
      }
    });

    suite.needs('directories')(
      'whose threads die answers with errors, not with silence, and recovers',
      async () => {
        const { renameSync } = await import('node:fs');
        const pool = await openPool(suite.home.path, { lockTimeout: 60_000 });
        try {
          const volumes = join(suite.home.path, 'volumes');
          renameSync(volumes, `${volumes}-away`);
          // New threads can't start without that directory.
          const outcomes = await Promise.allSettled(Array.from({ length: 40 }, () => pool.list()));
          renameSync(`${volumes}-away`, volumes);
          for (const outcome of outcomes)
            if (outcome.status === 'rejected') await refusal(() => Promise.reject(outcome.reason));
          const later = await Promise.allSettled(Array.from({ length: 40 }, () => pool.list()));
          expect(later.map((outcome) => outcome.status)).toEqual(
            Array.from({ length: 40 }, () => 'fulfilled'),
          );
        } finally {
          await pool.close();
        }
      },
    );
  });
});

const piped = { stdio: ['ignore', 'pipe', 'inherit'] } as const satisfies Parameters<typeof spawn>[2];

async function linesOf(child: ChildProcess): Promise<string[]> {
  let text = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    text += chunk;
  });
  const [code] = (await once(child, 'close')) as [number];
  expect(code).toBe(0);
  return text.trim().split('\n');
}

function messagesOf(histories: readonly (readonly Event[])[], code: string): string[] {
  return histories
    .flat()
    .flatMap(({ outcome }) =>
      outcome && 'failed' in outcome && outcome.failed === code ? [outcome.message] : [],
    );
}

function codes(histories: readonly (readonly Event[])[]): string[] {
  return histories.flat().flatMap(({ outcome }) => (outcome && 'failed' in outcome ? [outcome.failed] : []));
}
