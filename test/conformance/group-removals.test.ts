import { openSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openPool, type Pool } from '../../src/index.ts';
import { removeAttribute } from '../../src/linux/attributes.ts';
import { Descriptor } from '../../src/linux/files.ts';
import { type PausedChild, pausedChild } from '../crash/paused-child.ts';
import { refusal } from '../support/errors.ts';
import { committing, everything, renameDuringSweep, several } from './grouping.ts';
import { conformance, staged } from './suite.ts';

const MiB = 2 ** 20;

/** The rename of what was removed. */
const moving = /^renameat2 v-\d+\./;

conformance(
  'several removals at once',
  (suite) => {
    const removing = async (
      names: readonly string[],
      ...steps: readonly RegExp[]
    ): Promise<{ remover: PausedChild; other: Pool }> => {
      const call = ['remove', names, { withSnapshots: true }] as const;
      const remover = pausedChild({ pool: suite.home.path, call });
      for (const step of steps) await remover.until(step);
      return { remover, other: await openPool(suite.home.path, { lockTimeout: 0 }) };
    };

    test('that are not committed leave all, also when their process dies', async () => {
      const [a = '', b = ''] = await several(suite, 2);
      const { remover, other } = await removing([a, b], committing);
      await using _remover = remover;
      await using pool = other;
      expect(await present(pool, a, b)).toEqual([a, b]);
      await refusal(() => pool.create(a, { bytes: MiB }), 'already_exists');
      await remover.kill();
      expect(await present(pool, a, b)).toEqual([a, b]);
      await pool.grow(a, { bytes: 2 * MiB });
      await pool.snapshot([a, b]);
      await using swept = await openPool(suite.home.path, { inline: true });
      expect(await present(swept, a, b)).toEqual([a, b]);
      expect(staged(suite.home)).toEqual([]);
      await swept.remove([a, b], { withSnapshots: true });
      expect(await present(pool, a, b)).toEqual([]);
    });

    test('that are committed leave nothing, also while it still lies there', async () => {
      const [a = '', b = '', kept = ''] = await several(suite, 3);
      await suite.pool.snapshot([`${b}@s`, `${kept}@s`]);
      const { remover, other } = await removing([a, b, `${kept}@s`], committing, moving);
      await using _remover = remover;
      await using pool = other;
      expect(await present(pool, a, b)).toEqual([]);
      expect(await pool.listSnapshots(b)).toEqual([]);
      expect(await pool.listSnapshots(kept)).toEqual([]);
      expect((await pool.list()).find((each) => each.name === kept)?.snapshots).toBe(0);
      expect((await pool.tree()).map((node) => node.name).filter((name) => name === a || name === b)).toEqual(
        [],
      );
      expect((await pool.check()).filter((finding) => finding.severity === 'error')).toEqual([]);
      await refusal(() => pool.create(a, { bytes: MiB }), 'busy');
      await remover.kill();
      for (const name of [a, b, `${b}@s`, `${kept}@s`]) await refusal(() => pool.diskPath(name), 'not_found');
      await refusal(() => pool.remove([a, b]), 'not_found');
      await pool.create(a, { bytes: 3 * MiB });
      await pool.snapshot(`${kept}@s`);
      await pool.rename(kept, b);
      await using swept = await openPool(suite.home.path, { inline: true });
      expect((await swept.show(a)).bytes).toBe(3 * MiB);
      expect((await swept.listSnapshots(b)).map((each) => each.name)).toEqual(['s']);
      expect((await swept.describe()).tombstones).toBe(0);
    });

    test('of a dead process do not come back with a volume that is renamed while they are cleared up', async () => {
      const names = await several(suite, 3);
      const { snapshots } = await suite.pool.snapshot(names, { name: 's' });
      const gone = snapshots.map((snapshot) => snapshot.reference);
      const { remover, other } = await removing(gone, committing, moving);
      await remover.kill();
      await other.close();
      await renameDuringSweep(suite, names[1] ?? '');
    });

    test('do nothing when one of them can not go', async () => {
      const [a = '', b = '', c = ''] = await several(suite, 3);
      await suite.pool.snapshot(`${b}@s`);
      const before = await everything(suite.pool);
      expect((await refusal(() => suite.pool.remove([a, b, c]), 'blocked')).message).toContain(b);
      await refusal(() => suite.pool.remove([a, 'never-made', c]), 'not_found');
      expect(await everything(suite.pool)).toEqual(before);
      expect((await suite.pool.remove([c, a, 'never-made', c], { ifExists: true })).removed).toEqual([a, c]);
    });

    test('with something among them that has lost its metadata remove that, too', async () => {
      const [a = '', b = ''] = await several(suite, 2);
      await suite.pool.snapshot([a, b], { name: 's' });
      {
        using root = new Descriptor(openSync(join(suite.home.path, 'volumes', b, 'snapshots', 's'), 'r'));
        removeAttribute(root.fd, 'user.coppice');
      }
      await suite.pool.remove([`${a}@s`, `${b}@s`]);
      expect((await suite.pool.listSnapshots(a)).concat(await suite.pool.listSnapshots(b))).toEqual([]);
    });
  },
  { needs: 'directories' },
);

async function present(pool: Pool, ...names: string[]): Promise<string[]> {
  return (await pool.list()).map((volume) => volume.name).filter((name) => names.includes(name));
}
