import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { openPool, type TreeNode } from '../../src/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { digest, digestOf, patternBytes, writePattern } from '../support/content.ts';
import { scratchDirectory } from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import { conformance } from './suite.ts';

const MiB = 2 ** 20;

/** The names from a root down to each leaf: `a>b>c`, a removed one in brackets. */
function paths(nodes: readonly TreeNode[], above = ''): string[] {
  return nodes.flatMap((node) => {
    const name = node.type === 'removed' ? `(${node.name})` : node.name;
    const here = above === '' ? name : `${above}>${name}`;
    return node.children.length === 0 ? [here] : paths(node.children, here);
  });
}

conformance('lineage', (suite) => {
  test('is drawn as a tree, and known after renames, removals and in another process', async () => {
    const { pool } = suite;
    await pool.create('base', { bytes: MiB });
    await pool.seal('base', 'image');
    await pool.clone('image', 'web');
    await pool.snapshot('web@s');
    await pool.clone('web@s', 'copy');
    await pool.clone('copy', 'copy-of-copy');
    expect(paths(await pool.tree('base'))).toEqual(['base>image>web>copy>copy-of-copy']);
    await pool.rename('web', 'site');
    expect((await pool.show('copy')).origin).toMatchObject({
      name: 'web',
      snapshot: 's',
      id: (await pool.show('site')).id,
    });
    expect(paths(await pool.tree('base'))).toEqual(['base>image>site>copy>copy-of-copy']);
    await pool.remove(['image', 'copy']);
    await pool.remove('site', { withSnapshots: true });
    expect(paths(await pool.tree())).toEqual(['base>(image)>(web)>(copy)>copy-of-copy']);
    await pool.rollback(`copy-of-copy@${(await pool.snapshot('copy-of-copy')).name}`);
    const again = await suite.home.reopen();
    const [root] = await again.tree('base');
    const copy = root?.children[0]?.children[0]?.children[0];
    expect(copy).toMatchObject({ name: 'copy', type: 'removed', fromSnapshot: 's' });
    expect((await again.show('copy-of-copy')).ancestors.map((ancestor) => ancestor.name)).toEqual([
      'copy',
      'web',
      'image',
      'base',
    ]);
    await refusal(() => pool.tree('image'), 'not_found');
    await pool.remove('copy-of-copy', { withSnapshots: true });
    await pool.remove('base');
    expect(await pool.tree()).toEqual([]);
    expect((await pool.describe()).tombstones).toBe(0);
  });

  test('many deep, ancestors removed in a random order: content, tree and origins stay right', async () => {
    const { pool } = suite;
    const depth = Math.ceil(128 * suite.backend.scale);
    const name = (level: number): string => `deep-${level}`;
    await pool.create(name(0), { bytes: MiB });
    const pattern = (level: number): Buffer => patternBytes(1000 + level, 4096);
    for (let level = 0; level < depth; level++) {
      if (level > 0) await pool.clone(name(level - 1), name(level), { durability: 'deferred' });
      writePattern(await pool.diskPath(name(level)), 1000 + level, level * 4096, 4096);
    }
    const whole = Buffer.concat(Array.from({ length: depth }, (_, level) => pattern(level)));
    const chain = (alive: ReadonlySet<number>, leaf: number): string =>
      Array.from({ length: leaf + 1 }, (_, level) =>
        alive.has(level) ? name(level) : `(${name(level)})`,
      ).join('>');
    const alive = new Set(Array.from({ length: depth }, (_, level) => level));
    expect(paths(await pool.tree())).toEqual([chain(alive, depth - 1)]);
    // A permutation that is the same at every run: 37 and 127 share no divisor.
    const order = Array.from({ length: depth - 1 }, (_, index) => (index * 37 + 11) % (depth - 1));
    for (const [index, level] of order.entries()) {
      await pool.remove(name(level), { durability: 'deferred' });
      alive.delete(level);
      if (index % 16 === 0) expect(paths(await pool.tree())).toEqual([chain(alive, depth - 1)]);
    }
    expect(paths(await (await suite.home.reopen()).tree())).toEqual([chain(alive, depth - 1)]);
    expect(digest(await pool.diskPath(name(depth - 1)))).toBe(digestOf(whole, MiB));
    expect((await pool.show(name(depth - 1))).ancestors[0]?.name).toBe(name(depth - 2));
    await pool.remove(name(depth - 1));
    expect(await pool.tree()).toEqual([]);
    // Nobody descends from them any more, so nothing of them is kept.
    expect((await pool.describe()).tombstones).toBe(0);
  });

  const wide = Math.ceil((process.env['COPPICE_LONG'] === '1' ? 20_000 : 2000) * suite.backend.scale ** 2);
  test(`${wide} wide: each is a child of the template, listed and drawn, also after that is gone`, async () => {
    const { pool } = suite;
    await pool.create('seed', { bytes: MiB });
    writePattern(await pool.diskPath('seed'), 1, 0, MiB);
    await pool.seal('seed', 'template');
    await pool.remove('seed');
    const { cloned, failed } = await pool.cloneMany('template', 'wide', wide);
    expect([cloned.length, failed]).toEqual([wide, []]);
    await pool.remove('template');
    expect((await pool.list()).length).toBe(wide);
    const [seed] = await pool.tree();
    expect(seed?.children[0]).toMatchObject({ name: 'template', type: 'removed' });
    expect(seed?.children[0]?.children).toHaveLength(wide);
    expect(digest(await pool.diskPath(`wide-${wide}`))).toBe(digestOf(patternBytes(1, MiB)));
    await pool.remove(
      cloned.map((clone) => clone.name),
      { durability: 'deferred' },
    );
    expect(await pool.list()).toEqual([]);
  }, 600_000);

  suite.needs('directories')('stays when the pool moves to another path', async () => {
    const { pool } = suite;
    await pool.create('here', { bytes: MiB });
    await pool.clone('here', 'child');
    const elsewhere = join(scratchDirectory(), 'moved');
    mkdirSync(elsewhere);
    runProgram('mount', ['--bind', '--', suite.home.path, elsewhere]);
    try {
      await using moved = await openPool(elsewhere, { inline: true });
      expect(moved.path).toBe(elsewhere);
      expect(paths(await moved.tree('here'))).toEqual(['here>child']);
      const path = await moved.diskPath('child');
      expect(dirname(dirname(dirname(dirname(path))))).toBe(elsewhere);
      expect(existsSync(path)).toBe(true);
      expect((await moved.show('child')).problems).toEqual([]);
    } finally {
      runProgram('umount', ['--', elsewhere]);
    }
  });
});
