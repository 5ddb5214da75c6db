import { openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openPool } from '../../src/index.ts';
import { Descriptor } from '../../src/linux/files.ts';
import { lock } from '../../src/linux/locks.ts';
import { patternBytes } from '../support/content.ts';
import { refusal } from '../support/errors.ts';
import { lockOnZfs } from '../support/zfs-pool.ts';
import { conformance, staged } from './suite.ts';

const MiB = 2 ** 20;

conformance('waiting for another operation', (suite) => {
  /** The lock of the pool or of a volume, as another process has it. */
  const locked = (volume?: string): Disposable => {
    const { path } = suite.home;
    if (path.startsWith('zfs:')) return lockOnZfs(path, volume);
    const place = volume === undefined ? '.staging' : join('volumes', volume);
    const held = new Descriptor(openSync(join(path, place), 'r'));
    lock(held.fd, 'exclusive', true);
    return held;
  };

  describe.each([true, false])('(inline: %s)', (inline) => {
    test('an import and an export can be cancelled, and then go on when they are asked again', async () => {
      await using pool = await openPool(suite.home.path, { inline, lockTimeout: 60_000 });
      const image = join(suite.scratch, suite.name('image'));
      writeFileSync(image, patternBytes(1, MiB));
      const { name } = await suite.volume();
      const template = suite.name('t');
      const file = join(suite.scratch, suite.name('out'));
      const attempts = {
        import: {
          blockedBy: undefined,
          run: (options: object) => pool.import(template, image, options),
        },
        export: {
          blockedBy: name,
          run: (options: object) => pool.export(name, file, options),
        },
      };
      for (const [operation, { blockedBy, run }] of Object.entries(attempts)) {
        {
          using _lock = locked(blockedBy);
          const error = await refusal(() => run({ signal: AbortSignal.timeout(100) }), 'cancelled');
          expect(error.message).toMatch(new RegExp(`^The ${operation} of .* while it waited`));
          await refusal(() => run({ signal: AbortSignal.abort() }), 'cancelled');
          expect(staged(suite.home)).toEqual([]);
        }
        await run({ signal: AbortSignal.timeout(60_000) });
      }
    });

    test('many clones: those that were made stay and are told', async () => {
      await using pool = await openPool(suite.home.path, { inline, lockTimeout: 60_000 });
      const { name } = await suite.volume();
      const controller = new AbortController();
      const { cloned, failed, cancelled } = await pool.cloneMany(name, `${name}-c`, 1000, {
        signal: controller.signal,
        onProgress: ({ step, fraction }) => step === 'cloning' && fraction >= 0.02 && controller.abort(),
      });
      expect([cancelled, failed]).toEqual([true, []]);
      expect(cloned.length).toBeGreaterThanOrEqual(20);
      expect(cloned.length).toBeLessThan(60);
      const present = (await pool.list()).map((volume) => volume.name);
      expect(present.filter((each) => each.startsWith(`${name}-c-`)).sort()).toEqual(
        cloned.map((each) => each.name).sort(),
      );
    });

    test('one that is not cancelled begins when the other has ended', async () => {
      await using pool = await openPool(suite.home.path, { inline, lockTimeout: 60_000 });
      const image = join(suite.scratch, suite.name('image'));
      writeFileSync(image, patternBytes(2, MiB));
      const lock = locked();
      const imported = pool.import(suite.name('t'), image);
      setTimeout(() => lock[Symbol.dispose](), 200);
      expect(await imported).toMatchObject({ bytes: MiB });
    });
  });
});
