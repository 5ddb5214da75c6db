import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { describeLoss, destroyPool } from '../../src/index.ts';
import { readMounts } from '../../src/linux/mounts.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { scratchDirectory } from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import { holdOpen } from '../support/holder.ts';
import { conformance, type Suite } from './suite.ts';

const user = 65533;

interface Home extends Disposable {
  readonly directory: string;
  /** Where a tree is to be; not there yet. */
  readonly at: string;
  readonly boot: { readonly fstab: string; readonly unitDirectory: string };
  fstab(): string;
}

/** A place of its own for a tree, and what a machine has at boot. What is mounted there goes at the end of the case. */
function newHome(): Home {
  const directory = scratchDirectory('home');
  const boot = { fstab: join(scratchDirectory('etc'), 'fstab'), unitDirectory: scratchDirectory('units') };
  return {
    directory,
    at: join(directory, 'data'),
    boot,
    fstab: () => (existsSync(boot.fstab) ? readFileSync(boot.fstab, 'utf8') : ''),
    [Symbol.dispose]() {
      for (const { mountPoint } of readMounts().reverse())
        if (mountPoint.startsWith(`${directory}/`)) runProgram('umount', ['--', mountPoint]);
    },
  };
}

async function newTree({ pool, name }: Suite): Promise<{ name: string; path: string }> {
  const tree = name('tree');
  await pool.create(tree, { kind: 'tree' });
  const path = await pool.diskPath(tree);
  writeFileSync(join(path, 'state'), '1');
  return { name: tree, path };
}

async function problems({ pool }: Suite, name: string, boot: Home['boot']): Promise<string[]> {
  const findings = await pool.check(boot);
  return findings.filter(({ subject }) => subject === name).map(({ message }) => message);
}

conformance('the place of a tree', (suite) => {
  const { needs } = suite;

  needs('switchesMounts')('is a directory that is made for it, now and at every boot', async () => {
    const { pool } = suite;
    using home = newHome();
    const { name, path } = await newTree(suite);
    const plan = await pool.mount(name, home.at, { ...home.boot, dryRun: true });
    expect([existsSync(home.at), home.fstab()]).toEqual([false, '']);
    const mounted = await pool.mount(name, home.at, home.boot);
    expect(mounted).toEqual(plan);
    expect(mounted).toMatchObject({ volume: name, path: home.at, how: 'mount', boot: { changed: true } });
    expect(home.fstab()).toBe(
      `${path} ${home.at} none bind,nofail,x-systemd.requires-mounts-for=${suite.home.path} 0 0\n`,
    );
    writeFileSync(join(home.at, 'new'), 'through the mount');
    expect(readdirSync(path).sort()).toEqual(['new', 'state']);
    const options = readMounts().findLast(({ mountPoint }) => mountPoint === home.at)?.options;
    expect(options).toEqual(expect.arrayContaining(['nosuid', 'nodev']));
    const at = { path: home.at, how: 'mount', boot: 'fstab', made: true };
    expect((await pool.list()).find((volume) => volume.name === name)).toMatchObject({ at });
    expect(await pool.show(name)).toMatchObject({ at, problems: [expect.stringContaining('at boot')] });
    expect(await problems(suite, name, home.boot)).toEqual([]);

    expect(await pool.unmount(name, home.at, home.boot)).toEqual({ volume: name, path: home.at });
    expect([existsSync(home.at), home.fstab()]).toEqual([false, '']);
    expect(await pool.show(name)).not.toHaveProperty('at');
    await refusal(() => pool.unmount(name, undefined, home.boot), 'not_found');
    await pool.remove(name);
  });

  needs('switchesMounts')('is an empty directory that was there, and stays', async () => {
    const { pool } = suite;
    using home = newHome();
    const { name } = await newTree(suite);
    mkdirSync(home.at);
    await pool.mount(name, `${home.at}/`, { ...home.boot, persist: false });
    expect(readdirSync(home.at)).toEqual(['state']);
    expect(home.fstab()).toBe('');
    expect(await problems(suite, name, home.boot)).toEqual([]);
    await pool.unmount(name, undefined, home.boot);
    expect(readdirSync(home.at)).toEqual([]);
    await pool.remove(name);
  });

  needs('switchesMounts')('is mounted by a unit of systemd, and changes from that to a line', async () => {
    const { pool } = suite;
    using home = newHome();
    const { name, path } = await newTree(suite);
    const { boot } = await pool.mount(name, home.at, { ...home.boot, systemd: true });
    expect(boot?.text.split('\n')).toEqual(
      expect.arrayContaining([`What=${path}`, `Where=${home.at}`, 'Type=none', 'Options=bind']),
    );
    expect(readdirSync(home.boot.unitDirectory)).toHaveLength(1);
    expect(await problems(suite, name, home.boot)).toEqual([]);
    await pool.mount(name, home.at, home.boot);
    expect([readdirSync(home.boot.unitDirectory), home.fstab().split('\n').length]).toEqual([[], 2]);
    await pool.unmount(name, undefined, home.boot);
    expect(home.fstab()).toBe('');
    await pool.remove(name);
  });

  needs('switchesMounts')('is behind a link, by which a rollback is seen at once', async () => {
    const { pool } = suite;
    using home = newHome();
    const { name, path } = await newTree(suite);
    await pool.snapshot(`${name}@s1`);
    for (const before of ['absent', 'empty']) {
      if (before === 'empty') mkdirSync(home.at);
      await pool.mount(name, home.at, { ...home.boot, link: true });
      expect([readlinkSync(home.at), home.fstab()]).toEqual([path, '']);
      expect(readdirSync(home.directory)).toEqual(['data']);
      writeFileSync(join(home.at, 'state'), '2');
      await pool.rollback(`${name}@s1`);
      expect(readFileSync(join(home.at, 'state'), 'utf8')).toBe('1');
      expect(await problems(suite, name, home.boot)).toEqual([]);
      await pool.unmount(name, undefined, home.boot);
      expect(readdirSync(home.directory)).toEqual([]);
    }
    await pool.remove(name, { withSnapshots: true });
  });

  needs('switchesMounts')('follows a rename, and stands in the way of a removal', async () => {
    const { pool } = suite;
    for (const link of [true, false]) {
      using home = newHome();
      const { name } = await newTree(suite);
      await pool.mount(name, home.at, { ...home.boot, link });
      const to = suite.name('renamed');
      expect(await pool.rename(name, to, home.boot)).toEqual({ from: name, name: to });
      expect(readFileSync(join(home.at, 'state'), 'utf8')).toBe('1');
      if (link) expect(readlinkSync(home.at)).toBe(await pool.diskPath(to));
      else expect(home.fstab()).toContain(`${await pool.diskPath(to)} ${home.at} none`);
      expect(home.fstab()).not.toContain(`/${name}/`);
      expect(await problems(suite, to, home.boot)).toEqual([]);
      const { blockers } = await refusal(() => pool.remove(to, { force: true }), 'blocked');
      expect(blockers).toEqual([
        expect.objectContaining({
          what: `${to} is ${link ? 'linked' : 'mounted'} at ${home.at}`,
          remedy: expect.stringContaining(`coppice unmount ${to}`),
        }),
      ]);
      await pool.unmount(to, undefined, home.boot);
      expect(readdirSync(home.directory)).toEqual([]);
      await pool.remove(to);
    }
  });

  needs('switchesMounts')('that holds something else is refused, and stays as it is', async () => {
    const { pool } = suite;
    using home = newHome();
    const { name } = await newTree(suite);
    const said = async (directory: string, options = {}): Promise<string> =>
      (await refusal(() => pool.mount(name, directory, { ...home.boot, ...options }))).message;
    for (const link of [true, false]) {
      mkdirSync(home.at);
      writeFileSync(join(home.at, 'mine'), '');
      expect(await said(home.at, { link })).toContain('coppice adopt --kind tree');
      expect(readdirSync(home.at)).toEqual(['mine']);
      rmSync(home.at, { recursive: true });
      symlinkSync('/etc', home.at);
      expect(await said(home.at, { link })).toContain('There is a link at');
      unlinkSync(home.at);
      writeFileSync(home.at, '');
      expect(await said(home.at, { link })).toContain('There is a file at');
      unlinkSync(home.at);
      mkdirSync(home.at);
      runProgram('mount', ['-t', 'tmpfs', 'none', home.at]);
      expect(await said(home.at, { link })).toContain('a mount of something else');
      runProgram('umount', [home.at]);
      rmSync(home.at, { recursive: true });
      expect(await said(join(home.at, 'deeper'), { link })).toContain(`There is no ${home.at}`);
      expect(await said(join(suite.home.path, 'in-the-pool'), { link })).toContain('in the pool itself');
    }
    expect(await said('relative')).toContain('must be a path that begins with "/"');
    expect(await said(home.at, { link: true, systemd: true })).toContain('needs nothing at boot');
    expect([readdirSync(home.directory), home.fstab()]).toEqual([[], '']);
    expect(await pool.show(name)).not.toHaveProperty('at');

    const disk = await suite.volume();
    await refusal(() => pool.mount(disk.name, home.at, home.boot), 'unsupported');
    const sealed = suite.name('sealed');
    await pool.seal(name, sealed);
    await refusal(() => pool.mount(sealed, home.at, home.boot), 'blocked');
    await refusal(() => pool.mount(name, undefined, home.boot), 'invalid_argument');
    await pool.mount(name, home.at, home.boot);
    expect(await said(join(home.directory, 'other'))).toContain(`coppice unmount ${name}`);
    expect(await said(home.at, { link: true })).toContain(`coppice unmount ${name}`);
    const other = await newTree(suite);
    await refusal(() => pool.mount(other.name, home.at, home.boot), 'already_exists');
    const clone = suite.name('clone');
    await pool.clone(name, clone);
    expect(await pool.show(clone)).not.toHaveProperty('at');
    await pool.unmount(name, undefined, home.boot);
    await pool.remove([name, other.name, clone, sealed, disk.name]);
  });

  needs('switchesMounts')('that is not as recorded is found, and mended by the same command', async () => {
    const { pool } = suite;
    using home = newHome();
    const { name } = await newTree(suite);
    const mended = async (damage: () => void, ...expected: string[]): Promise<void> => {
      damage();
      const found = await problems(suite, name, home.boot);
      expect(found.map((message) => expected.some((text) => message.includes(text)))).toEqual(
        expected.map(() => true),
      );
      await pool.mount(name, undefined, home.boot);
      expect(await problems(suite, name, home.boot)).toEqual([]);
      expect(readFileSync(join(home.at, 'state'), 'utf8')).toBe('1');
    };
    await pool.mount(name, home.at, home.boot);
    await mended(() => runProgram('umount', [home.at]), 'should be mounted at');
    await mended(() => writeFileSync(home.boot.fstab, '# nothing\n'), 'says nothing of that');
    await mended(
      () => {
        runProgram('umount', [home.at]);
        rmSync(home.at, { recursive: true });
        unlinkSync(home.boot.fstab);
      },
      'should be mounted at',
      'says nothing of that',
    );
    runProgram('umount', [home.at]);
    runProgram('mount', ['-t', 'tmpfs', 'none', home.at]);
    expect((await problems(suite, name, home.boot)).join()).toContain('a mount of something else');
    await refusal(() => pool.mount(name, undefined, home.boot), 'already_exists');
    runProgram('umount', [home.at]);
    await pool.unmount(name, undefined, home.boot);

    await pool.mount(name, home.at, { ...home.boot, link: true });
    await mended(() => unlinkSync(home.at), 'should be linked at');
    unlinkSync(home.at);
    symlinkSync('/etc', home.at);
    expect((await problems(suite, name, home.boot)).join()).toContain('a link that leads elsewhere');
    await refusal(() => pool.mount(name, undefined, home.boot), 'already_exists');
    await pool.unmount(name, undefined, home.boot);
    expect(readlinkSync(home.at)).toBe('/etc');
    unlinkSync(home.at);
    await pool.mount(name, home.at, { ...home.boot, link: true });
    rmSync(home.directory, { recursive: true });
    await pool.unmount(name, undefined, home.boot);
    expect(await problems(suite, name, home.boot)).toEqual([]);
    await pool.remove(name);
    mkdirSync(home.directory);
  });

  needs('switchesMounts')('in a directory of somebody else is not what he makes of it', async () => {
    const { pool } = suite;
    using home = newHome();
    const { name } = await newTree(suite);
    const theirs = join(home.directory, 'theirs');
    const at = join(theirs, 'data');
    mkdirSync(theirs);
    chownSync(theirs, user, user);
    // Root would follow, at the next boot, whatever he puts there by then.
    expect((await refusal(() => pool.mount(name, at, home.boot))).message).toContain('--no-persist');
    await pool.mount(name, at, { ...home.boot, persist: false });
    await pool.unmount(name, undefined, home.boot);
    await pool.mount(name, at, { ...home.boot, link: true });
    expect(lstatSync(at).isSymbolicLink()).toBe(true);
    await pool.unmount(name, undefined, home.boot);
    symlinkSync('/etc', join(theirs, 'etc'));
    await refusal(
      () => pool.mount(name, join(theirs, 'etc/x'), { ...home.boot, link: true }),
      'invalid_argument',
    );
    chownSync(theirs, 0, 0);
    chmodSync(theirs, 0o777);
    expect((await refusal(() => pool.mount(name, at, home.boot))).message).toContain('--link');
    expect(existsSync(at)).toBe(false);
    await pool.remove(name);
  });

  needs('switchesMounts')('is not taken from under who uses it', async () => {
    const { pool } = suite;
    for (const link of [true, false]) {
      using home = newHome();
      const { name } = await newTree(suite);
      await pool.mount(name, home.at, { ...home.boot, link });
      {
        await using holder = await holdOpen(join(home.at, 'state'));
        const { message } = await refusal(() => pool.unmount(name, undefined, home.boot), 'blocked');
        expect(message).toContain(`process ${holder.pid}`);
        expect(readFileSync(join(home.at, 'state'), 'utf8')).toBe('1');
        expect(await problems(suite, name, home.boot)).toEqual([]);
        await pool.unmount(name, undefined, { ...home.boot, force: true });
      }
      expect(existsSync(join(home.at, 'state'))).toBe(false);
      await pool.remove(name);
    }
  });

  needs('switchesMounts')('is given to one of two who want it at the same time', async () => {
    const trees = [await newTree(suite), await newTree(suite)];
    const pools = await Promise.all(trees.map(() => suite.home.reopen()));
    for (const link of [true, false]) {
      using home = newHome();
      const outcomes = await Promise.allSettled(
        trees.map(({ name }, index) => pools[index]?.mount(name, home.at, { ...home.boot, link })),
      );
      expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
      expect(readMounts().filter(({ mountPoint }) => mountPoint === home.at)).toHaveLength(link ? 0 : 1);
      expect(home.fstab().split('\n')).toHaveLength(link ? 1 : 2);
      for (const [index, { name }] of trees.entries()) {
        const has = outcomes[index]?.status === 'fulfilled';
        expect(await problems(suite, name, home.boot)).toEqual([]);
        expect('at' in (await suite.pool.show(name))).toBe(has);
        if (has) await suite.pool.unmount(name, undefined, home.boot);
      }
    }
    await suite.pool.remove(trees.map(({ name }) => name));
  });

  needs('switchesMounts')('is given when it is made, and so are its owner and mode', async () => {
    const { pool } = suite;
    using home = newHome();
    const name = suite.name('tree');
    const owned = { kind: 'tree', owner: `${user}:${user - 1}`, mode: 0o700, nodatacow: ['a/b'] } as const;
    const { mounted } = await pool.create(name, { ...owned, at: { directory: home.at, ...home.boot } });
    expect(mounted).toMatchObject({ path: home.at, how: 'mount' });
    const status = statSync(home.at);
    expect([status.uid, status.gid, status.mode & 0o7777]).toEqual([user, user - 1, 0o700]);
    for (const below of ['a', 'a/b'])
      expect(statSync(join(home.at, below))).toMatchObject({ uid: user, gid: user - 1 });
    const other = suite.name('tree');
    await refusal(
      () => pool.create(other, { kind: 'tree', at: { directory: home.at, ...home.boot } }),
      'already_exists',
    );
    await refusal(() => pool.create(other, { kind: 'tree', owner: 'nobody-here' }), 'invalid_argument');
    await refusal(() => pool.create(other, { bytes: 2 ** 20, owner: 'root' }), 'invalid_argument');
    await refusal(() => pool.create(other, { kind: 'tree', mode: 0o10000 }), 'invalid_argument');
    await refusal(() => pool.create(other, { kind: 'tree', blockBytes: 16384 }), 'unsupported');
    expect((await pool.list()).map((volume) => volume.name)).not.toContain(other);
    await pool.unmount(name, undefined, home.boot);
    await pool.remove(name);
  });

  needs('switchesMounts')('stands in the way of who destroys the pool', async () => {
    const { pool } = suite;
    using home = newHome();
    const linked = await newTree(suite);
    const mounted = await newTree(suite);
    await pool.mount(linked.name, home.at, { ...home.boot, link: true });
    await pool.mount(mounted.name, join(home.directory, 'other'), home.boot);
    const { blockers = [] } = describeLoss(suite.home.path);
    expect(blockers.map(({ what }) => what)).toEqual(
      expect.arrayContaining([
        `${linked.name} is linked at ${home.at}`,
        `${mounted.name} is mounted at ${join(home.directory, 'other')}`,
      ]),
    );
    expect(blockers.filter(({ what }) => what.includes('other'))).toHaveLength(1);
    await refusal(() => destroyPool(suite.home.path, { ...home.boot, force: true }), 'blocked');
    for (const { name } of [linked, mounted]) {
      await pool.unmount(name, undefined, home.boot);
      await pool.remove(name);
    }
  });

  const { backend } = suite;
  const onZfs = backend.name === 'zfs' ? test : test.skip;
  const dataset = (name: string): string => `${suite.home.path.replace(/^zfs:/, '')}/${name}`;
  const properties = (name: string, ...of: string[]): string[] =>
    runProgram('zfs', ['get', '-Hp', '-o', 'value', of.join(), dataset(name)])
      .trimEnd()
      .split('\n');

  onZfs('is the mountpoint of its dataset', async () => {
    const { pool } = suite;
    using home = newHome();
    const { name } = await newTree(suite);
    const inherited = properties(name, 'mountpoint');
    await pool.snapshot(`${name}@s`);
    await refusal(() => pool.mount(name, home.at, { ...home.boot, link: true }), 'invalid_argument');
    const isAt = async (of: string): Promise<void> => {
      expect(properties(of, 'mountpoint', 'canmount')).toEqual([home.at, 'on']);
      expect(readFileSync(join(home.at, 'state'), 'utf8')).toBe('1');
      expect(await problems(suite, of, home.boot)).toEqual([]);
    };
    expect(await pool.mount(name, home.at, home.boot)).toMatchObject({ path: home.at, how: 'mount' });
    await isAt(name);
    writeFileSync(join(home.at, 'state'), '2');
    await pool.rollback(`${name}@s`);
    await isAt(name);
    const to = suite.name('renamed');
    await pool.rename(name, to, home.boot);
    await isAt(to);
    await refusal(() => pool.remove(to, { withSnapshots: true }), 'blocked');
    runProgram('zfs', ['unmount', dataset(to)]);
    expect((await problems(suite, to, home.boot)).join()).toContain('should be mounted at');
    await pool.mount(to, undefined, home.boot);
    await isAt(to);
    await pool.unmount(to, undefined, home.boot);
    expect(properties(to, 'canmount')).toEqual(['noauto']);
    expect(properties(to, 'mountpoint').join()).toBe(inherited.join().replace(name, to));
    expect(existsSync(home.at)).toBe(false);
    await pool.remove(to, { withSnapshots: true });
  });

  onZfs('does not change the size of its records, which its copies keep', async () => {
    const { pool } = suite;
    const [name, clone, sealed, last] = ['tree', 'clone', 'sealed', 'last'].map((stem) => suite.name(stem));
    if (!name || !clone || !sealed || !last) throw new Error('no names');
    await pool.create(name, { kind: 'tree', blockBytes: 16384 });
    await pool.snapshot(`${name}@s`);
    await pool.clone(`${name}@s`, clone);
    await pool.seal(clone, sealed);
    await pool.clone(sealed, last);
    await pool.rollback(`${name}@s`);
    for (const each of [name, clone, sealed, last])
      expect(properties(each, 'recordsize', 'logbias')).toEqual(['16384', 'latency']);
    await refusal(() => pool.create(suite.name(), { kind: 'tree', blockBytes: 5000 }), 'invalid_argument');
    await refusal(() => pool.create(suite.name(), { kind: 'tree', owner: 'root' }), 'unsupported');
    await pool.remove([name, clone, sealed, last], { withSnapshots: true });
  });
});
