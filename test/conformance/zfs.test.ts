import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openPool, type Pool } from '../../src/index.ts';
import { environment, findProgram, runProgram } from '../../src/linux/programs.ts';
import { takeSnapshots } from '../../src/linux/zfs-core.ts';
import { play } from '../support/actors.ts';
import { digest, digestOf, patternBytes, writePattern } from '../support/content.ts';
import { scratchDirectory } from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import { findContradiction } from '../support/histories.ts';
import { observe } from '../support/perform.ts';
import { backends } from './backends.ts';
import { conformance, staged } from './suite.ts';

const MiB = 2 ** 20;

/** What only a pool of ZFS has. */
if (!backends.some(({ name }) => name === 'zfs'))
  test.skip('zfs alone (skipped: it runs in a guest, see test/guest)', () => {});
else {
  conformance('zfs alone', (suite) => {
    const dataset = (): string => suite.home.path.replace(/^zfs:/, '');
    const zfs = (...args: string[]): string => runProgram('zfs', args);

    test('no process is started for each volume', async () => {
      const { pool } = suite;
      const { name: source } = await suite.volume();
      const template = suite.name('t');
      await pool.seal(source, template);
      const counts: number[] = [];
      for (const count of [2, 6]) {
        using counter = countPrograms();
        const { cloned } = await pool.cloneMany(template, suite.name('many'), count);
        const names = cloned.map(({ name }) => name);
        for (const name of names) await pool.snapshot(`${name}@s`);
        await pool.rename(names[0] ?? '', suite.name('renamed'));
        await pool.rollback(`${names[1]}@s`);
        await pool.list();
        await pool.usage([], { exact: true });
        await pool.tree();
        await pool.check();
        await pool.remove(names.slice(1), { withSnapshots: true });
        counts.push(counter.count());
      }
      expect(counts[0]).toBeGreaterThan(0);
      expect(counts[1]).toBe(counts[0]);
    });

    test('looking writes nothing, not even into the history of the pool', async () => {
      const { pool } = suite;
      const { name } = await suite.volume();
      await pool.snapshot(`${name}@s`);
      await pool.clone(`${name}@s`, suite.name('clone'));
      const history = (): string => runProgram('zpool', ['history', '-i', dataset().split('/', 1)[0] ?? '']);
      const before = history();
      await using other = await openPool(suite.home.path, { inline: true });
      for (const each of [pool, other]) {
        await each.list();
        await each.listSnapshots(name);
        await each.show(name);
        await each.usage([name, `${name}@s`]);
        await each.tree();
        await each.describe();
        await each.check();
        await each.diskPath(name);
      }
      expect(history()).toBe(before);
    });

    test('a pool that is closed keeps nothing of ZFS open, whatever its threads have done', async () => {
      const { name } = await suite.volume();
      const inUse = (): number =>
        readdirSync('/proc/self/fd').filter((fd) => linkOf(`/proc/self/fd/${fd}`) === '/dev/zfs').length;
      const counts: number[] = [];
      for (let round = 0; round < 2; round++) {
        await using pool = await openPool(suite.home.path);
        await Promise.all([1, 2, 3, 4].map(() => pool.show(name)));
        await pool.export(name, join(suite.scratch, `export-${round}`));
        await pool.close();
        counts.push(inUse());
      }
      expect(new Set(counts).size).toBe(1);
    });

    test('two snapshots of one volume at the same instant are refused, and nothing is taken', async () => {
      const { pool } = suite;
      const [a, b] = [await suite.volume(), await suite.volume()];
      await refusal(() => pool.snapshot([`${a.name}@one`, `${b.name}@one`, `${a.name}@two`]), 'unsupported');
      const names = [`${a.name}@one`, `${b.name}@one`, `${a.name}@two`].map((name) => `${dataset()}/${name}`);
      expect(() => takeSnapshots(new Map(names.map((name) => [name, {}])))).toThrow('EAGAIN');
      expect(await pool.listSnapshots(a.name)).toEqual([]);
      expect(zfs('list', '-H', '-t', 'snapshot', `${dataset()}/${a.name}`, `${dataset()}/${b.name}`)).toBe(
        '',
      );
    });

    test('several at once take snapshots of one volume', async () => {
      const { name } = await suite.volume();
      await using other = await openPool(suite.home.path);
      const taken: string[] = [];
      const several = async (pool: Pool, stem: string): Promise<void> => {
        for (let round = 0; round < 4; round++)
          taken.push((await pool.snapshot(`${name}@${stem}-${round}`)).reference);
      };
      await Promise.all([several(suite.pool, 'a'), several(other, 'b')]);
      const found = await suite.pool.listSnapshots(name);
      expect(found.map(({ reference }) => reference).sort()).toEqual(taken.sort());
    });

    test('what somebody else has in the dataset is listed as foreign, and never touched', async () => {
      const { pool } = suite;
      zfs('create', `${dataset()}/files`);
      zfs('create', '-s', '-V', '1M', `${dataset()}/by hand`);
      const { name } = await suite.volume();
      zfs('snapshot', `${dataset()}/${name}@his`);
      zfs('clone', `${dataset()}/${name}@his`, `${dataset()}/his-clone`);
      const types = new Map((await pool.list()).map((each) => [each.name, each.type]));
      for (const each of ['files', 'by hand', 'his-clone']) expect(types.get(each), each).toBe('foreign');
      await refusal(() => pool.remove('files', { withSnapshots: true, force: true }), 'damaged');
      await refusal(() => pool.remove('his-clone', { force: true }), 'damaged');
      await refusal(() => pool.remove('by hand'), 'invalid_argument');
      await refusal(() => pool.create('files', { bytes: MiB }), 'already_exists');
      const found = (await pool.check()).map(({ subject }) => subject);
      expect(found).toContain(`${dataset()}/files`);
      // Its clone keeps what it depends on.
      await pool.remove(name, { withSnapshots: true });
      expect(zfs('list', '-H', '-o', 'type', `${dataset()}/his-clone`)).toBe('volume\n');
      for (const each of ['files', 'by hand', 'his-clone']) zfs('destroy', '-R', `${dataset()}/${each}`);
    });

    test('a volume is thin, of the block size that was asked for, and its device is for the guest alone', async () => {
      const { pool } = suite;
      await pool.create('small-blocks', { bytes: 4 * MiB, blockBytes: 4096 });
      const { name } = await suite.volume(4 * MiB);
      const read = (volume: string): string =>
        zfs(
          'get',
          '-Hp',
          '-o',
          'value',
          'volblocksize,refreservation,volmode,origin',
          `${dataset()}/${volume}`,
        );
      expect(read('small-blocks')).toBe('4096\n0\ndev\n-\n');
      expect(read(name)).toBe('16384\n0\ndev\n-\n');
      const clone = suite.name('clone');
      await pool.clone('small-blocks', clone);
      expect(read(clone).split('\n')[0]).toBe('4096');
      await refusal(() => pool.create(suite.name(), { bytes: MiB, blockBytes: 5000 }), 'invalid_argument');
    });

    test('what was set on a volume itself stays through a rollback', async () => {
      const { pool } = suite;
      const { name } = await suite.volume();
      const tree = suite.name('tree');
      await pool.create(tree, { kind: 'tree' });
      const directory = scratchDirectory('mounted');
      const own = {
        [name]: {
          sync: 'disabled',
          compression: 'off',
          snapdev: 'visible',
          volmode: 'none',
          'acme:owner': 'Jörg',
        },
        [tree]: { refquota: '67108864', recordsize: '16384', atime: 'on', mountpoint: directory },
      };
      for (const [volume, values] of Object.entries(own)) {
        for (const [key, value] of Object.entries(values))
          zfs('set', `${key}=${value}`, `${dataset()}/${volume}`);
        await pool.snapshot(`${volume}@s`);
      }
      zfs('set', 'canmount=on', `${dataset()}/${tree}`);
      expect(await pool.diskPath(tree)).toBe(directory);
      writeFileSync(join(directory, 'file'), 'later');
      for (const [volume, values] of Object.entries(own)) {
        await pool.rollback(`${volume}@s`);
        const keys = Object.keys(values).join();
        const found = zfs(
          'get',
          '-Hp',
          '-s',
          'local',
          '-o',
          'property,value',
          keys,
          `${dataset()}/${volume}`,
        );
        expect(
          Object.fromEntries(
            found
              .trimEnd()
              .split('\n')
              .map((line) => line.split('\t')),
          ),
        ).toEqual(values);
      }
      expect(await pool.diskPath(tree)).toBe(directory);
      expect(existsSync(join(directory, 'file'))).toBe(false);
      // At boot nothing but the present state may be mounted there.
      const all = zfs('get', '-Hp', '-r', '-t', 'filesystem', '-o', 'name,value', 'canmount', dataset());
      const lines = all.split('\n').filter((line) => line.includes('/.coppice/branches/'));
      expect(lines.filter((line) => line.endsWith('\ton'))).toEqual([]);
      await pool.remove([name, tree], { withSnapshots: true });
    });

    test('a link that leads to another volume is not given out', async () => {
      const { pool } = suite;
      const [a, b] = [await suite.volume(), await suite.volume()];
      writePattern(b.path, 1, 0, MiB);
      const aside = `${a.path}.aside`;
      renameSync(a.path, aside);
      symlinkSync(runProgram('readlink', ['-f', b.path]).trim(), a.path);
      // Another process, because this one waits.
      const udev = spawn('sh', ['-c', 'sleep 1 && mv -T "$1" "$2"', 'sh', aside, a.path], {
        stdio: 'ignore',
      });
      const ended = once(udev, 'exit');
      expect(digest(await pool.diskPath(a.name))).not.toBe(digest(b.path));
      await ended;
    });

    test('images are taken into the pool where a copy of them is asked for', async () => {
      const { pool } = suite;
      const [raw, packed] = [suite.name('raw'), suite.name('packed')];
      const place = scratchDirectory('images');
      const file = join(place, `${raw}.raw`);
      const bytes = patternBytes(6, MiB);
      writeFileSync(file, bytes);
      runProgram('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', file, join(place, `${packed}.qcow2`)]);
      expect((await refusal(() => pool.adopt(file), 'blocked')).message).toContain(
        'share no blocks with files',
      );
      const { adopted } = await pool.adopt(place, { copy: true, removeOriginals: true });
      expect(adopted).toMatchObject([{ name: packed }, { name: raw, shared: false }]);
      for (const name of [raw, packed]) expect(digest(await pool.diskPath(name))).toBe(digestOf(bytes));
      expect(readdirSync(place)).toEqual([]);
    });

    test('a dataset without room is full with a typed error, and removing still works', async () => {
      const { pool } = suite;
      const { name, path } = await suite.volume(32 * MiB);
      writePattern(path, 2, 0, 16 * MiB);
      runProgram('zpool', ['sync']);
      const used = Number(zfs('get', '-Hp', '-o', 'value', 'used', dataset()));
      zfs('set', `quota=${used + 64 * 1024}`, dataset());
      try {
        // Some 100 MB, of which a quota of less is told before anything is written.
        const error = await refusal(() => pool.import(suite.name(), '/proc/self/exe'), 'no_space');
        expect(error.neededBytes).toBeGreaterThan(error.availableBytes ?? Number.POSITIVE_INFINITY);
        await pool.remove(name);
      } finally {
        zfs('set', 'quota=none', dataset());
      }
      await suite.volume();
    });

    test('an actor that is killed at any step: all that it was told is there, and what it had begun is done or not', async () => {
      const deaths = [7, 19, 33, 52, 71, 24, 95];
      const plan = { seed: 4711, mode: 'inline', lanes: 1, operations: 25, deaths } as const;
      const { pool } = suite;
      for (const { name } of await pool.list()) await pool.remove(name, { withSnapshots: true });
      const before = await observe(pool);
      const { histories, deaths: died } = await play([plan], suite.home.path, suite.scratch);
      expect(died).toBeGreaterThan(2);
      await using after = await openPool(suite.home.path, { inline: true });
      expect(findContradiction(histories, before, await observe(after))).toBeUndefined();
      expect(staged(suite.home)).toEqual([]);
      for (const { name } of await after.list()) await after.remove(name, { withSnapshots: true });
      expect(
        zfs('list', '-H', '-r', '-t', 'all', '-o', 'name', `${dataset()}/.coppice`).split('\n'),
      ).toHaveLength(5);
    });
  });
}

/** Where a link leads; undefined for one that is gone. */
function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** Counts how often `zfs` and `zpool` are started by this process. */
function countPrograms(): Disposable & { count(): number } {
  const directory = scratchDirectory('count');
  const log = join(directory, 'log');
  writeFileSync(log, '');
  for (const program of ['zfs', 'zpool']) {
    const script = join(directory, program);
    writeFileSync(script, `#!/bin/sh\necho ${program} "$@" >> ${log}\nexec ${findProgram(program)} "$@"\n`);
    chmodSync(script, 0o755);
  }
  const paths = environment as { PATH: string };
  const before = paths.PATH;
  paths.PATH = `${directory}:${before}`;
  return {
    count: () => readFileSync(log, 'utf8').split('\n').length - 1,
    [Symbol.dispose]() {
      paths.PATH = before;
    },
  };
}
