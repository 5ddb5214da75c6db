import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import fc from 'fast-check';
import { expect } from 'vitest';
import { runProgram } from '../../src/linux/programs.ts';
import { patternBytes } from '../support/content.ts';
import { mountedFileSystem, scratchDirectory } from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import { holdOpen } from '../support/holder.ts';
import { conformance, type Suite } from './suite.ts';

const MiB = 2 ** 20;
const user = 65533;

/** A directory beside the pool, on its file system. */
function beside({ home, name }: Suite): string {
  const path = join(home.path, `${name('data')}-dir`);
  mkdirSync(path);
  return path;
}

/** Everything in it as tools see it that Coppice does not use for that. */
function listed(directory: string): string {
  const script = `
    find . ! -type d -printf '%P %y %m %U %G %s %T@ %l %n\\n' -o -printf '%P %y %m %U %G %T@\\n' | LC_ALL=C sort
    find . -print0 | LC_ALL=C sort -z | xargs -0r getfattr -h -d -m - -e hex -- |
      grep -av -e 'user.coppice' -e '^# file: [.]$' -e '^$' || :
    find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum
  `;
  return execFileSync('bash', ['-c', script], { cwd: directory, encoding: 'latin1' });
}

/** u::rw-,u:1234:r-x,g::r--,m::r-x,o::r-- as the kernel has it. */
const accessRules =
  '0x0200000001000600ffffffff02000500d204000004000400ffffffff10000500ffffffff20000400ffffffff';

function furnish(directory: string): void {
  const at = (name: string): string => join(directory, name);
  mkdirSync(at('base/deep/er'), { recursive: true });
  writeFileSync(at('base/1'), patternBytes(1, MiB));
  writeFileSync(at('base/odd'), patternBytes(2, 4097));
  writeFileSync(at('base/small'), 'inline');
  writeFileSync(at('empty'), '');
  linkSync(at('base/1'), at('base/deep/same'));
  truncateSync(at('empty'), 0);
  writeFileSync(at('sparse'), '');
  truncateSync(at('sparse'), 64 * MiB);
  writeFileSync(at('sparse'), 'x', { flag: 'r+' });
  symlinkSync('/nowhere', at('link'));
  symlinkSync('base', at('to-base'));
  writeFileSync(Buffer.concat([Buffer.from(`${directory}/`), Buffer.from([0xff, 0x0a, 0x20])]), 'any bytes');
  runProgram('mkfifo', [at('pipe')]);
  runProgram('mknod', [at('null'), 'c', '1', '3']);
  execFileSync(process.execPath, [
    '-e',
    `require('net').createServer().listen(process.argv[1], () => process.exit())`,
    at('sock'),
  ]);
  runProgram('setfattr', ['-n', 'user.colour', '-v', 'green', at('base/1')]);
  runProgram('setfattr', ['-n', 'user.colour', '-v', 'red', at('base/deep')]);
  runProgram('setfattr', ['-n', 'trusted.secret', '-v', 'x', at('base/odd')]);
  runProgram('setfattr', ['-n', 'system.posix_acl_access', '-v', accessRules, at('base/odd')]);
  runProgram('setfattr', ['-n', 'system.posix_acl_default', '-v', accessRules, at('base/deep')]);
  chownSync(at('base/small'), user, user);
  runProgram('chmod', ['4711', at('base/small')]);
  runProgram('chmod', ['1770', at('base/deep/er')]);
  lutimesSync(at('link'), 1_000_000, 1_000_000);
  lutimesSync(at('base/deep'), 1_000_000, 1_234_567.5);
  lutimesSync(directory, 1_000_000, 2_000_000);
}

conformance('adopting a directory', (suite) => {
  const { needs } = suite;

  needs('switchesMounts')('takes in all there is, and puts the volume in its place', async () => {
    const { pool } = suite;
    const directory = beside(suite);
    furnish(directory);
    const before = listed(directory);
    const name = suite.name('adopted');
    const plan = await pool.adoptTree(directory, { name, dryRun: true });
    expect(plan).toMatchObject({ volume: name, path: directory, method: 'reflink', blockers: [] });
    const adopted = await pool.adoptTree(directory, { name, verify: true });
    expect(lstatSync(directory).isSymbolicLink()).toBe(true);
    expect(readlinkSync(directory)).toBe(await pool.diskPath(name));
    expect(listed(`${directory}/.`)).toBe(before);
    expect(listed(adopted.original ?? '')).toBe(before);
    expect(basename(adopted.original ?? '')).toMatch(/-dir\.before-adoption-\d{8}-\d{6}$/);
    expect(await pool.show(name)).toMatchObject({ method: 'import', problems: [], at: { how: 'link' } });
    expect(await pool.adoptTree(directory, { name })).toMatchObject({ before: true });

    writeFileSync(join(directory, 'later'), 'written to the volume');
    const { blockers } = await refusal(() => pool.unmount(name), 'blocked');
    expect(blockers[0]?.remedy).toContain('--undo');
    await refusal(() => pool.remove(name), 'blocked');
    expect(await pool.undoAdoption(directory)).toEqual({ volume: name, path: directory });
    expect(lstatSync(directory).isDirectory()).toBe(true);
    expect(listed(directory)).toBe(before);
    expect(existsSync(adopted.original ?? '')).toBe(false);
    expect(readFileSync(join(await pool.diskPath(name), 'later'), 'utf8')).toBe('written to the volume');
    await refusal(() => pool.undoAdoption(directory), 'not_found');
    await pool.remove(name);

    const again = await pool.adoptTree(directory, { name });
    expect(await pool.removeOriginal(directory)).toEqual({
      volume: name,
      path: directory,
      original: again.original,
    });
    expect(existsSync(again.original ?? '')).toBe(false);
    expect(listed(`${directory}/.`)).toBe(before);
    await refusal(() => pool.undoAdoption(directory), 'not_found');
    await pool.unmount(name);
    await pool.remove(name);
    expect(existsSync(directory)).toBe(false);
  });

  needs('switchesMounts')('of a subvolume takes a snapshot, which keeps what is nodatacow', async () => {
    const { pool, home } = suite;
    const directory = join(home.path, suite.name('sub'));
    runProgram('btrfs', ['subvolume', 'create', directory]);
    mkdirSync(join(directory, 'pg'));
    runProgram('chattr', ['+C', join(directory, 'pg')]);
    writeFileSync(join(directory, 'pg/1'), patternBytes(1, MiB));
    const name = suite.name('adopted');
    expect(await pool.adoptTree(directory, { name })).toMatchObject({ method: 'snapshot', bytes: MiB });
    expect(runProgram('lsattr', [`${directory}/pg/`])).toMatch(/^-*C-* .*1$/m);
    expect(await pool.show(name)).toMatchObject({ problems: [] });
    await pool.undoAdoption(directory);
    runProgram('btrfs', ['subvolume', 'create', join(directory, 'nested')]);
    const { blockers } = await refusal(() => pool.adoptTree(directory, { name: suite.name() }), 'blocked');
    expect(blockers[0]?.what).toContain('nested');
    await pool.remove(name);
    runProgram('btrfs', ['subvolume', 'delete', join(directory, 'nested')]);
    runProgram('btrfs', ['subvolume', 'delete', directory]);
  });

  needs('switchesMounts')(
    'keeps each directory nodatacow or not, and copies nothing unless told to',
    async () => {
      const { pool } = suite;
      const directory = beside(suite);
      for (const path of ['log', 'log/cow', 'pg/base']) mkdirSync(join(directory, path), { recursive: true });
      runProgram('chattr', ['+C', join(directory, 'log')]);
      for (const path of ['log/1', 'log/cow/1', 'pg/1', 'pg/base/1'])
        writeFileSync(join(directory, path), patternBytes(1, MiB));
      const flagged = (of: string): string[] =>
        runProgram('lsattr', ['-R', of])
          .split('\n')
          .flatMap((line) => (/^[a-zA-Z-]*C/.test(line) ? [line.replace(/^\S+ /, '').replace(of, '')] : []))
          .sort();
      const name = suite.name('adopted');
      expect(await pool.adoptTree(directory, { name, verify: true })).toMatchObject({ method: 'reflink' });
      const { original = '' } = (await pool.show(name)).at ?? {};
      expect(flagged(`${directory}/.`)).toEqual(flagged(join(directory, '..', original, '.')));
      await pool.undoAdoption(directory);
      await pool.remove(name);

      const { blockers } = await refusal(
        () => pool.adoptTree(directory, { name, nodatacow: ['pg'] }),
        'blocked',
      );
      expect(blockers[0]?.remedy).toContain('--copy');
      expect((await pool.list()).map((volume) => volume.name)).not.toContain(name);
      expect(await pool.adoptTree(directory, { name, nodatacow: ['pg'], copy: true })).toMatchObject({
        method: 'copy',
      });
      expect(flagged(`${directory}/.`)).toEqual(
        expect.arrayContaining(['/pg', '/pg/1', '/pg/base', '/pg/base/1']),
      );
      expect(readFileSync(join(directory, 'pg/base/1')).equals(patternBytes(1, MiB))).toBe(true);
      await pool.removeOriginal(directory);
      await pool.unmount(name);
      await pool.remove(name);
    },
  );

  needs('switchesMounts')('on another file system is copied only when told to', async () => {
    const { pool } = suite;
    using other = mountedFileSystem('ext4', 256 * MiB);
    const directory = join(other.path, 'data');
    mkdirSync(directory);
    furnish(directory);
    const before = listed(directory);
    const name = suite.name('adopted');
    expect((await refusal(() => pool.adoptTree(directory, { name }), 'blocked')).message).toContain(
      'another file system',
    );
    const adopted = await pool.adoptTree(directory, { name, copy: true });
    expect([adopted.method, listed(`${directory}/.`)]).toEqual(['copy', before]);
    expect(statSync(join(directory, 'sparse')).blocks).toBeLessThan(100);
    await pool.undoAdoption(directory);
    expect(listed(directory)).toBe(before);
    await pool.remove(name);
  });

  needs('switchesMounts')(
    'refuses what is in use, what can not be told, and what lies elsewhere',
    async () => {
      const { pool } = suite;
      const directory = beside(suite);
      writeFileSync(join(directory, 'file'), 'x');
      const name = suite.name('adopted');
      {
        await using holder = await holdOpen(join(directory, 'file'));
        expect((await refusal(() => pool.adoptTree(directory, { name }), 'blocked')).message).toContain(
          `process ${holder.pid}`,
        );
      }
      const inside = spawn('sh', ['-c', 'echo ready; read -r _'], {
        cwd: directory,
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      await once(inside.stdout, 'data');
      expect((await refusal(() => pool.adoptTree(directory, { name }), 'blocked')).message).toContain(
        `process ${inside.pid}`,
      );
      inside.stdin.end();
      await once(inside, 'exit');
      const at = join(directory, 'mounted');
      mkdirSync(at);
      runProgram('mount', ['-t', 'tmpfs', 'none', at]);
      expect(
        (await refusal(() => pool.adoptTree(directory, { name, copy: true }), 'blocked')).message,
      ).toContain('mounted');
      await refusal(() => pool.adoptTree(at, { name, copy: true }), 'blocked');
      runProgram('umount', [at]);
      await refusal(() => pool.adoptTree(join(directory, 'none'), { name }), 'not_found');
      await refusal(() => pool.adoptTree(join(directory, 'file'), { name }), 'invalid_argument');
      await refusal(() => pool.adoptTree(suite.home.path, { name }), 'invalid_argument');
      await refusal(() => pool.adoptTree(join(suite.home.path, 'volumes'), { name }), 'invalid_argument');
      symlinkSync(directory, join(scratchDirectory(), 'link'));
      await refusal(() => pool.adoptTree(directory, { name, nodatacow: ['../x'] }), 'invalid_argument');
      const taken = await suite.volume();
      await refusal(() => pool.adoptTree(directory, { name: taken.name }), 'already_exists');
      expect(readdirSync(directory).sort()).toEqual(['file', 'mounted']);
      expect((await pool.list()).map((volume) => volume.name)).not.toContain(name);
      expect(readdirSync(join(directory, '..')).filter((each) => each.includes('before-adoption'))).toEqual(
        [],
      );
      await pool.remove(taken.name);
    },
  );

  needs('switchesMounts')(
    'of what was copied elsewhere, or left alone, changes nothing at its place',
    async () => {
      const { pool } = suite;
      const directory = beside(suite);
      writeFileSync(join(directory, 'file'), 'x');
      const name = suite.name('adopted');
      const adopted = await pool.adoptTree(directory, { name, keep: true });
      expect(adopted).not.toHaveProperty('original');
      expect(lstatSync(directory).isDirectory()).toBe(true);
      expect(await pool.show(name)).not.toHaveProperty('at');
      await pool.remove(name);
    },
  );

  needs('switchesMounts')('keeps any tree as it was', async () => {
    const { pool } = suite;
    const part = fc.constantFrom('a', 'b c', 'é', '-n', 'x\ny');
    const entries = fc.array(
      fc.record({
        path: fc.array(part, { minLength: 1, maxLength: 4 }),
        kind: fc.constantFrom('file', 'directory', 'link', 'same'),
        bytes: fc.integer({ min: 0, max: 10_000 }),
        mode: fc.integer({ min: 0, max: 0o777 }),
        time: fc.integer({ min: 0, max: 2_000_000_000 }),
      }),
      { maxLength: 12 },
    );
    await fc.assert(
      fc.asyncProperty(entries, async (all) => {
        const directory = beside(suite);
        for (const { path, kind, bytes, mode, time } of all) {
          const to = join(directory, ...path);
          try {
            mkdirSync(join(to, '..'), { recursive: true });
            if (kind === 'file') writeFileSync(to, patternBytes(bytes, bytes), { flag: 'wx' });
            else if (kind === 'directory') mkdirSync(to);
            else if (kind === 'link') symlinkSync(path.join('/'), to);
            else linkSync(join(directory, 'a'), to);
            runProgram('chmod', ['--', mode.toString(8), to]);
            lutimesSync(to, time, time);
          } catch {} // there is something of that name, or nothing to link to
        }
        const before = listed(directory);
        const name = suite.name('any');
        await pool.adoptTree(directory, { name });
        expect(listed(`${directory}/.`)).toBe(before);
        await pool.removeOriginal(directory);
        await pool.unmount(name);
        await pool.remove(name);
      }),
      { numRuns: 12 },
    );
  });
});
