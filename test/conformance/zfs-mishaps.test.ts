import { mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { openPool } from '../../src/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { observeCalls } from '../../src/linux/system-calls.ts';
import { openAmong } from '../../src/linux/zfs-core.ts';
import { digest, digestOf, patternBytes, writePattern } from '../support/content.ts';
import { refusal } from '../support/errors.ts';
import { holdOpen } from '../support/holder.ts';
import { backends } from './backends.ts';
import { conformance } from './suite.ts';

const MiB = 2 ** 20;

/** What goes wrong on ZFS alone, or is made there by others. */
if (!backends.some(({ name }) => name === 'zfs'))
  test.skip('mishaps on zfs (skipped: it runs in a guest, see test/guest)', () => {});
else {
  conformance('mishaps on zfs alone', (suite) => {
    const dataset = (): string => suite.home.path.replace(/^zfs:/, '');
    const zfs = (...args: string[]): string => runProgram('zfs', args);
    const tombstoneOf = (name: string): string =>
      zfs('list', '-Hp', '-r', '-o', 'name', `${dataset()}/.coppice/tombstones`)
        .split('\n')
        .find((each) => each.includes(`/${name}.`)) ?? '';

    test('while somebody has open what was removed by force, the pool works; later it is destroyed', async () => {
      const { pool } = suite;
      const { name, path } = await suite.volume();
      {
        await using _user = await holdOpen(path);
        const { warnings = [] } = await pool.remove(name, { force: true });
        expect(warnings.join()).toContain('its space is not free yet');
        await using other = await openPool(suite.home.path, { inline: true });
        expect((await other.list()).map((each) => each.name)).not.toContain(name);
        await other.create(name, { bytes: MiB });
      }
      await using after = await openPool(suite.home.path, { inline: true });
      expect(
        zfs('list', '-H', '-r', '-o', 'name', `${dataset()}/.coppice/tombstones`).split('\n'),
      ).toHaveLength(2);
      await after.remove(name);
    });

    test('between the two renames of a rollback nobody else gets the name, and whoever comes next finishes it', async () => {
      const { pool } = suite;
      const { name, path } = await suite.volume();
      const before = digestOf(writePattern(path, 1, 0, MiB));
      await pool.snapshot(`${name}@s`);
      const later = digestOf(writePattern(path, 2, 0, MiB));
      const { name: other } = await suite.volume();
      for (const take of [
        () => pool.create(name, { bytes: MiB }),
        () => pool.clone(other, name),
        () => pool.rename(other, name),
        () => openPool(suite.home.path, { inline: true }).then((opened) => opened.close()),
      ]) {
        let renames = 0;
        // As if it died after the first: nothing of what follows is done.
        observeCalls((call) => (call === 'zfs rename' && ++renames > 1 ? 5 : undefined));
        await pool.rollback(`${name}@s`).then(
          () => expect.unreachable('it can not have been done'),
          () => {},
        );
        observeCalls(undefined);
        expect(zfs('list', '-H', '-o', 'name', '-d', '1', dataset())).not.toContain(`/${name}\n`);
        await take().catch((error: unknown) => expect(error).toMatchObject({ code: 'already_exists' }));
        await using after = await openPool(suite.home.path, { inline: true });
        expect((await after.list()).filter((each) => each.name === name)).toHaveLength(1);
        expect(digest(await after.diskPath(name))).toBe(before);
        const [undo = ''] = (await after.listSnapshots(name))
          .filter(({ reason }) => reason === 'rollback')
          .map(({ reference }) => reference);
        await after.rollback(undo);
        expect(digest(await after.diskPath(name))).toBe(later);
        for (const { reference, reason } of await after.listSnapshots(name))
          if (reason === 'rollback') await after.remove(reference);
      }
    });

    test('a snapshot gets the name of one that is gone and still lies there, because its remover died', async () => {
      const { pool } = suite;
      const [{ name: a }, { name: b }] = [await suite.volume(), await suite.volume()];
      const take: Array<(name: string) => Promise<unknown>> = [
        (name) => pool.snapshot([`${a}@${name}`, `${b}@${name}`]),
        (name) => Promise.all([pool.snapshot(`${a}@${name}`), pool.snapshot(`${b}@${name}`)]),
      ];
      for (const [index, again] of take.entries()) {
        const references = [`${a}@s${index}`, `${b}@s${index}`];
        await pool.snapshot(references);
        // As if it died when its removal was committed and before it has destroyed any.
        observeCalls((call) => (call === 'zfs destroy' ? 5 : undefined));
        const { warnings = [] } = await pool.remove(references);
        observeCalls(undefined);
        expect(warnings).toHaveLength(2);
        expect(
          zfs('list', '-H', '-t', 'snapshot', '-o', 'name', ...[a, b].map((each) => `${dataset()}/${each}`)),
        ).toContain(`@s${index}`);
        expect(await pool.listSnapshots(a)).toEqual([]);
        let calls = 0;
        observeCalls(() => (++calls > 200 ? 5 : undefined));
        await again(`s${index}`).finally(() => observeCalls(undefined));
        expect((await pool.listSnapshots(a)).map((each) => each.name)).toEqual([`s${index}`]);
        await pool.remove(references);
      }
    });

    test('a program that udev runs for a new device is nobody who has it open', async () => {
      const { pool } = suite;
      const { name, path } = await suite.volume();
      await pool.snapshot(`${name}@s`);
      writePattern(path, 1, 0, MiB);
      using _rule = slowUdev();
      const { undo = '' } = await pool.rollback(`${name}@s`);
      const clone = suite.name('clone');
      await pool.clone(name, clone);
      for (const gone of [clone, undo, name])
        expect(await pool.remove(gone, { withSnapshots: gone === name })).not.toHaveProperty('warnings');
    });

    test('what only a removed clone needed is free, though udev has what it was cloned from open', async () => {
      const { pool } = suite;
      const { name, path } = await suite.volume(8 * MiB);
      const device = realpathSync(path);
      const clones = [suite.name('clone'), suite.name('clone')];
      for (const clone of clones) {
        await pool.clone(name, clone);
        writePattern(path, 4, 0, 8 * MiB);
      }
      await pool.remove(name);
      using _rule = slowUdev(basename(device), 4);
      runProgram('udevadm', ['trigger', '--action=change', device]);
      while (openAmong([tombstoneOf(name)]).open.length === 0) await setTimeout(10);
      await pool.remove(clones[1] ?? '');
      expect(Number(zfs('get', '-Hp', '-o', 'value', 'written', tombstoneOf(name)))).toBeLessThan(MiB);
      await pool.remove(clones[0] ?? '');
    });

    test('what can not be freed yet fails no removal: somebody has it open, or a quota stands against it', async () => {
      const { pool } = suite;
      const { name, path } = await suite.volume(8 * MiB);
      const clones = [suite.name('clone'), suite.name('clone')];
      for (const clone of clones) await pool.clone(name, clone);
      writePattern(path, 4, 0, 8 * MiB);
      {
        // After a writer udev would open it, too.
        await using _user = await holdOpen(path, 'read');
        await pool.remove(name, { force: true });
        expect((await pool.remove(clones[0] ?? '')).warnings ?? []).toEqual([]);
        await using other = await openPool(suite.home.path, { inline: true });
        expect((await other.list()).map((each) => each.name)).toContain(clones[1]);
      }
      await using after = await openPool(suite.home.path, { inline: true });
      expect(Number(zfs('get', '-Hp', '-o', 'value', 'written', tombstoneOf(name)))).toBeLessThan(MiB);
      await after.remove(clones[1] ?? '');

      const tree = suite.name('tree');
      await pool.create(tree, { kind: 'tree' });
      const file = join(await pool.diskPath(tree), 'file');
      await pool.snapshot(`${tree}@a`);
      writeFileSync(file, patternBytes(5, 8 * MiB));
      await pool.snapshot(`${tree}@b`);
      writeFileSync(file, patternBytes(6, 2 * MiB));
      runProgram('zpool', ['sync']);
      zfs('set', 'refquota=4M', `${dataset()}/${tree}`);
      const { undo = '' } = await pool.rollback(`${tree}@a`);
      expect((await pool.remove(undo)).warnings ?? []).toEqual([]);
      expect((await pool.listSnapshots(tree)).map((each) => each.name)).toEqual(['a', 'b']);
      await pool.remove(tree, { withSnapshots: true });
    });

    test('what was cloned from a clone with a long name stays a volume when that is removed', async () => {
      const { pool } = suite;
      const { name } = await suite.volume();
      const [template, parent, child] = [suite.name('t'), suite.name(`pvc-${'x'.repeat(40)}`), suite.name()];
      await pool.seal(name, template);
      await pool.clone(template, parent);
      await pool.snapshot(`${parent}@s`);
      await pool.clone(`${parent}@s`, child);
      const { id, ancestors } = await pool.show(child);
      await pool.remove(parent, { withSnapshots: true });
      expect(await pool.show(child)).toMatchObject({ type: 'volume', id, ancestors, problems: [] });
      expect((await pool.list()).find((each) => each.name === child)).toMatchObject({ type: 'volume', id });
      await pool.remove([child, template]);
    });

    test('what is imported is all there, though udev opens each disk that is closed after a write', async () => {
      const { pool } = suite;
      const raw = join(suite.scratch, 'to-import.raw');
      const bytes = patternBytes(15, 8 * MiB);
      writeFileSync(raw, bytes);
      const packed = join(suite.scratch, 'to-import.qcow2');
      runProgram('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, packed]);
      for (const image of [raw, packed, packed]) {
        const name = suite.name('imported');
        await pool.import(name, image);
        expect(digest(await pool.diskPath(name)), image).toBe(digestOf(bytes));
      }
    });

    test('a bookmark is neither a volume nor somebody who has the disk open', async () => {
      const { pool } = suite;
      const { name, path } = await suite.volume();
      await pool.snapshot(`${name}@s`);
      await pool.snapshot(`${name}@t`);
      zfs('bookmark', `${dataset()}/${name}@t`, `${dataset()}/${name}#t`);
      await pool.remove(`${name}@t`);
      const later = digestOf(writePattern(path, 3, 0, MiB));
      expect((await pool.list()).map((each) => each.name)).not.toContain(`${name}#t`);
      {
        await using user = await holdOpen(path);
        const { blockers } = await refusal(() => pool.rollback(`${name}@s`), 'blocked');
        expect(blockers.map(({ what }) => what).join()).toContain(`process ${user.pid}`);
      }
      const { undo = '' } = await pool.rollback(`${name}@s`);
      await pool.rollback(undo);
      expect(digest(await pool.diskPath(name))).toBe(later);
    });

    test('metadata that somebody else has written, and that can not be printed, is said to be damaged', async () => {
      const { name } = await suite.volume();
      // What an open pool has read of a volume it remembers.
      await using pool = await openPool(suite.home.path, { inline: true });
      zfs('set', 'coppice:metadata=Jörg', `${dataset()}/${name}`);
      await refusal(() => pool.show(name), 'damaged');
      expect((await pool.list()).find((each) => each.name === name)?.type).toBe('foreign');
      zfs('destroy', `${dataset()}/${name}`);
    });

    test('sizes are multiples of the blocks that were asked for', async () => {
      const { pool } = suite;
      const name = suite.name();
      const blocks = 128 * 1024;
      const made = await pool.create(name, { bytes: 100_000, blockBytes: blocks });
      expect(made).toMatchObject({ bytes: blocks, roundedFrom: 100_000 });
      expect((await pool.grow(name, { bytes: blocks + 1 })).bytes).toBe(2 * blocks);
      expect((await pool.clone(name, suite.name(), { bytes: 2 * blocks + 1 })).bytes).toBe(3 * blocks);
    });

    test('a directory that can not be mounted again after a rollback has been rolled back all the same', async () => {
      const { pool } = suite;
      const name = suite.name('tree');
      await pool.create(name, { kind: 'tree' });
      const path = await pool.diskPath(name);
      await pool.snapshot(`${name}@s`);
      runProgram('touch', ['--', `${path}/later`]);
      // As in fstab: where it is mounted is not ZFS's to know.
      zfs('umount', `${dataset()}/${name}`);
      zfs('set', 'mountpoint=legacy', `${dataset()}/${name}`);
      runProgram('mkdir', ['--parents', '--', path]);
      runProgram('mount', ['-t', 'zfs', '--', `${dataset()}/${name}`, path]);
      const { undo = '' } = await pool.rollback(`${name}@s`);
      expect((await pool.listSnapshots(name)).map(({ reference }) => reference)).toContain(undo);
      const why = await refusal(() => pool.diskPath(name), 'unsupported');
      expect(why.message).toContain('legacy');
      zfs('inherit', 'mountpoint', `${dataset()}/${name}`);
      await pool.rollback(undo);
      expect(readFileSync(`${await pool.diskPath(name)}/later`, 'utf8')).toBe('');
      await pool.remove(name, { withSnapshots: true });
    });
  });
}

/** udev has devices open for longer than usual, in a program that it runs. */
function slowUdev(names = 'zd*', seconds = 0.5): Disposable {
  const rule = '/run/udev/rules.d/99-coppice-test.rules';
  const set = (text: string): void => {
    mkdirSync(dirname(rule), { recursive: true });
    writeFileSync(rule, text);
    runProgram('udevadm', ['control', '--reload']);
  };
  set(`KERNEL=="${names}", PROGRAM="/bin/sh -c 'exec sleep ${seconds} < $devnode'"\n`);
  return {
    [Symbol.dispose]: () => {
      rmSync(rule);
      runProgram('udevadm', ['control', '--reload']);
    },
  };
}
