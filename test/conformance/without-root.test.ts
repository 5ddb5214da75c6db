import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createPool, destroyPool, openPool, type TreeDiff } from '../../src/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { bundle } from '../support/bundle.ts';
import { digest, digestOf, patternBytes } from '../support/content.ts';
import { type MountedFileSystem, mountedFileSystem, scratchDirectory } from '../support/devices.ts';
import type { Call } from '../support/unprivileged.ts';
import { fileSystems } from './backends.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;
const user = 65533;

interface Answer {
  readonly result?: unknown;
  readonly error?: { readonly code?: string; readonly message: string };
}

/** A user who is not root, with a directory of his own on a file system that somebody else has mounted. */
describe.each(fileSystems)('without root, on $name', (backend) => {
  let host: MountedFileSystem;
  let home: string;
  let image: string;

  beforeAll(() => {
    host = mountedFileSystem(backend.name, 4 * GiB);
    home = join(host.path, 'home');
    mkdirSync(home);
    chownSync(home, user, user);
    image = join(host.path, 'image.raw');
    writeFileSync(image, patternBytes(1, MiB));
    chmodSync(image, 0o644);
    openToOthers(host.path);
  });

  afterAll(() => host[Symbol.dispose]());

  const asUser = (calls: readonly Call[], step?: number): Promise<Answer[]> => runAsUser(home, calls, step);

  /** Everything has to succeed. */
  const done = async (...calls: readonly Call[]): Promise<unknown[]> => {
    const answers = await asUser(calls);
    expect(answers.filter(({ error }) => error)).toEqual([]);
    return answers.map(({ result }) => result);
  };

  /** What other tests have left, too. */
  const empty = async (): Promise<void> => {
    await using pool = await openPool(home, { inline: true });
    const volumes = await pool.list();
    await pool.remove(
      volumes.map(({ name }) => name),
      { withSnapshots: true },
    );
  };

  const refused = async (call: Call): Promise<string> => {
    const [answer] = await asUser([call]);
    expect(answer?.error?.code, JSON.stringify(answer)).toBe('permission_denied');
    expect(answer?.error?.message).toMatch(/root/);
    return answer?.error?.message ?? '';
  };

  test('everything that works on a pool, from its making to its end, and nothing is left', async () => {
    const results = await done(
      ['createPool', { path: home, existing: true }],
      ['import', 'template', image],
      ['create', 'empty', { bytes: MiB }],
      ['clone', 'template', 'vm'],
      ['clone', 'template', 'large', { bytes: 2 * MiB }],
      ...(backend.capabilities['replicableClones'] === true
        ? ([['clone', 'template', 'sendable', { replicable: true }]] as const)
        : []),
      ['cloneMany', 'template', 'many', 5],
      ['snapshot', 'vm@s'],
      ['writeTo', join(home, 'volumes/vm/data/disk.raw')],
      ['rollback', 'vm@s'],
      ['rename', 'empty', 'renamed'],
      ['grow', 'renamed', { bytes: 2 * MiB }],
      ['seal', 'vm', 'second'],
      ['clone', 'second', 'third'],
      ['usage'],
      ['tree'],
      ['show', 'vm'],
      ['describe'],
      ['check'],
      ['sync'],
    );
    expect(results.at(-2), 'what the check found').toEqual([]);
    expect(digest(join(home, 'volumes/vm/data/disk.raw'))).toBe(digestOf(patternBytes(1, MiB)));
    const [volumes] = (await done(['list'])) as [ReadonlyArray<{ name: string }>];
    await done([
      'remove',
      volumes.map(({ name }) => name).filter((name) => name !== 'third'),
      { withSnapshots: true },
    ]);
    expect(readdirSync(join(home, '.tombstones'))).toEqual([]);
    expect(readdirSync(join(home, '.staging'))).toEqual([]);
    await done(['destroyPool', home, { unitDirectory: scratchDirectory() }]);
    expect(readdirSync(home)).toEqual([]);
  });

  test('a template or snapshot can not be written', async () => {
    await done(
      ['createPool', { path: home, existing: true }],
      ['import', 'sealed', image],
      ['clone', 'sealed', 'v'],
      ['snapshot', 'v@s'],
    );
    for (const disk of ['volumes/sealed/data/disk.raw', 'volumes/v/snapshots/s/data/disk.raw']) {
      const [answer] = await asUser([['writeTo', join(home, disk)]]);
      expect(answer?.error?.code).toMatch(/^(EROFS|EACCES|EPERM)$/);
    }
  });

  test('what only root can do says so', async () => {
    await done(['createPool', { path: home, existing: true }]);
    expect(await refused(['createPool', { path: join(home, 'other'), file: join(home, 'file') }])).toMatch(
      /--existing/,
    );
    expect(await refused(['createPool', { path: join(home, 'other'), device: '/dev/loop0' }])).toMatch(
      /--existing/,
    );
    if (backend.name === 'btrfs') expect(await refused(['usage', [], { exact: true }])).toMatch(/--exact/);
    expect(readdirSync(home)).not.toContain('file');
  });

  test("a pool of root's is not his, and says so", async () => {
    const path = join(host.path, 'of-root');
    mkdirSync(path);
    createPool({ path, existing: true });
    await using pool = await openPool(path, { inline: true });
    await pool.create('v', { bytes: MiB });
    const answers = await runAsUser(path, [['list'], ['create', 'mine', { bytes: MiB }], ['remove', 'v']]);
    for (const { error } of answers) {
      expect(error?.code).toBe('permission_denied');
      expect(error?.message).toMatch(/root/);
    }
    expect((await pool.list()).map((volume) => volume.name)).toEqual(['v']);
    await pool.close();
    destroyPool(path, { fstab: '/dev/null', unitDirectory: scratchDirectory() });
  });

  test.skipIf(backend.capabilities['treeDifferences'] !== true)(
    'trees are compared by their files, because what the file system knows is only for root',
    async () => {
      await done(['createPool', { path: home, existing: true }]);
      await empty();
      await done(['create', 't', { kind: 'tree' }]);
      const file = join(home, 'volumes/t/active/file');
      writeFileSync(file, 'before');
      await done(['snapshot', 't@before']);
      writeFileSync(file, 'after');
      writeFileSync(`${file}-2`, 'new');
      const [compared] = (await done(['diff', 't@before'])) as [TreeDiff];
      expect(compared).toMatchObject({ method: 'files', counts: { added: 1, changed: 1, removed: 0 } });
      expect(compared.changes.map(({ path }) => path)).toEqual(['file', 'file-2']);
      await using pool = await openPool(home, { inline: true });
      const { changes, method } = await pool.diff('t@before');
      expect(method).toBe('generations');
      expect(changes).toEqual(compared.changes);
      await pool.remove('t', { withSnapshots: true });
    },
  );

  test('a removal has succeeded although what root has made in it can not be destroyed', async () => {
    await done(['createPool', { path: home, existing: true }]);
    await empty();
    await done(['create', 'v', { bytes: MiB }], ['create', 'w', { bytes: MiB }], ['snapshot', 'v@u1']);
    {
      await using pool = await openPool(home, { inline: true });
      await pool.snapshot('v@r1');
    }
    // As a version that did not give it to him, or a restored backup, has left it.
    chownSync(join(home, 'volumes/v/snapshots/r1'), 0, 0);
    const [removed] = (await done(['remove', ['v', 'w'], { withSnapshots: true }])) as [
      { removed: string[]; warnings?: string[] },
    ];
    expect(removed.removed).toEqual(['v', 'w']);
    expect(removed.warnings).toEqual([expect.stringMatching(/^v is removed; its space .* as root/)]);
    expect(await done(['list'])).toEqual([[]]);
    await using pool = await openPool(home, { inline: true });
    expect(await pool.list()).toEqual([]);
    expect(readdirSync(join(home, '.tombstones'))).toEqual([]);
  });

  test('what he may not read fails no listing, and is told of', async () => {
    await done(['createPool', { path: home, existing: true }]);
    await empty();
    await done(
      ['create', 'alpha', { bytes: MiB }],
      ['create', 'beta', { bytes: MiB }],
      ['snapshot', 'beta@u1'],
    );
    {
      await using pool = await openPool(home, { inline: true });
      for (const reference of ['alpha@r1', 'beta@r1']) await pool.snapshot(reference);
      await pool.create('of-root', { bytes: MiB });
    }
    for (const path of ['alpha/snapshots', 'beta/snapshots/r1', 'of-root'])
      chownSync(join(home, 'volumes', path), 0, 0);
    const [volumes, , , , alpha, beta, findings] = (await done(
      ['list'],
      ['listSnapshots'],
      ['tree'],
      ['usage'],
      ['show', 'alpha'],
      ['show', 'beta'],
      ['check'],
      ['describe'],
    )) as [object[], unknown, unknown, unknown, { problems: string[] }, { problems: string[] }, object[]];
    expect(volumes).toMatchObject([{ name: 'alpha' }, { name: 'beta' }, { name: 'of-root' }]);
    expect(alpha.problems).toEqual([expect.stringMatching(/snapshots of alpha can't be read by this user/)]);
    expect(beta.problems).toEqual([expect.stringMatching(/beta@r1 can't be read by this user/)]);
    expect(findings).toMatchObject([
      { message: expect.stringMatching(/of-root .*or can't be read by this user/) },
      { subject: 'alpha' },
      { subject: 'beta@r1' },
    ]);
    // What can't be seen may be there.
    expect(await refused(['remove', 'alpha'])).toMatch(/Could not remove alpha/);
    await using pool = await openPool(home, { inline: true });
    await pool.remove(['alpha', 'beta', 'of-root'], { withSnapshots: true });
  });

  test('a removal that is killed at any step leaves a whole volume or none, and is finished later', async () => {
    await done(['createPool', { path: home, existing: true }], ['import', 'base', image]);
    const content = digestOf(patternBytes(1, MiB));
    const withSnapshots = { withSnapshots: true };
    // Every third step: each takes two processes.
    for (let [step, died] = [1, true]; died; step += 3) {
      const calls = [
        ['clone', 'base', 'doomed'],
        ['snapshot', 'doomed@s'],
        ['remove', 'doomed', withSnapshots],
      ] as const;
      died = (await asUser(calls, step)).length < calls.length;
      const [volumes] = (await done(['list'])) as [ReadonlyArray<{ name: string }>];
      if (volumes.some(({ name }) => name === 'doomed')) {
        expect(digest(join(home, 'volumes/doomed/data/disk.raw'))).toBe(content);
        expect(digest(join(home, 'volumes/doomed/snapshots/s/data/disk.raw'))).toBe(content);
        await done(['remove', 'doomed', withSnapshots]);
      }
      expect(readdirSync(join(home, '.tombstones')), `killed before step ${step}`).toEqual([]);
    }
  }, 180_000);

  test('the mount option that lets users destroy subvolumes does no harm', async () => {
    if (backend.name === 'btrfs')
      runProgram('mount', ['-o', 'remount,user_subvol_rm_allowed', '--', host.path]);
    await done(
      ['createPool', { path: home, existing: true }],
      ['create', 'short-lived', { bytes: MiB }],
      ['snapshot', 'short-lived@s'],
      ['remove', 'short-lived', { withSnapshots: true }],
    );
    expect(readdirSync(join(home, '.tombstones'))).toEqual([]);
  });
});

async function runAsUser(path: string, calls: readonly Call[], step?: number): Promise<Answer[]> {
  const directory = bundle('unprivileged', { unprivileged: 'test/support/unprivileged.ts' });
  const script = join(directory, 'unprivileged.js');
  const args = [script, String(user), path, ...(step === undefined ? [] : [String(step)])];
  const child: ChildProcess = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin?.end(JSON.stringify(calls));
  const [output] = await Promise.all([child.stdout ? text(child.stdout) : '', once(child, 'close')]);
  return output
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Answer);
}

/** The directories of a test run are their user's alone: others may pass through those above this one. */
function openToOthers(path: string): void {
  for (
    let directory = join(path, '..');
    directory.includes('coppice-test-');
    directory = join(directory, '..')
  )
    chmodSync(directory, 0o711);
}
