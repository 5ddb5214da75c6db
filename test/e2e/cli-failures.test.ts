import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runProgram } from '../../src/linux/programs.ts';
import { builtCommand } from '../support/built.ts';
import { holdOpen } from '../support/holder.ts';
import { coppice } from './command.ts';
import { commandLinePool, done, refused } from './session.ts';

const { directory, pool, image } = commandLinePool();

describe('failures', () => {
  test('have their exit codes, one sentence on standard error, and nothing on standard output', () => {
    const text = join(directory, 'not-an-image.gz');
    writeFileSync(text, Buffer.from([0x1f, 0x8b, 8, 0]));
    done(coppice(pool, 'clone', 'base', 'f-1'));
    done(coppice(pool, 'snapshot', 'f-1@a'));
    const cases: ReadonlyArray<readonly [code: number, args: readonly string[]]> = [
      [2, ['create', 'x', '--size', '10X']],
      [2, ['create', '../x', '--size', '1M']],
      [2, ['clone', 'base', 'x', '--count', '0']],
      [2, ['clone', 'base', 'x', '--size', '1M']],
      [2, ['rollback', 'f-1']],
      [3, ['clone', 'bsae', 'x']],
      [3, ['rollback', 'f-1@b']],
      [3, ['import', 'x', '/nowhere/image']],
      [3, ['export', 'f-1', '/nowhere/file']],
      [4, ['create', 'f-1', '--size', '1M']],
      [4, ['snapshot', 'f-1@a']],
      [4, ['export', 'f-1', text]],
      [5, ['remove', 'f-1']],
      [5, ['grow', 'base', '1G']],
      [8, ['import', 'x', text]],
      [8, ['import', 'x', image, '--sha256', '0'.repeat(64)]],
      [2, ['pool', 'destroy', pool]],
    ];
    for (const [code, args] of cases) refused(coppice(pool, ...args), code);
    refused(coppice(directory, 'list'), 7);
    refused(coppice('/nowhere', 'list'), 7);
    expect(refused(coppice(pool, 'clone', 'bsae', 'x'), 3)).toContain('Did you mean "base"?');
  });

  test('of the sandbox are not told as if the image were damaged', () => {
    const qcow2 = join(directory, 'sound.qcow2');
    runProgram('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', image, qcow2]);
    // The kernel allows no user namespace in a changed root.
    const root = join(directory, 'changed-root');
    mkdirSync(root);
    const script = 'mount --rbind / "$0" && exec chroot "$0" "$@"';
    const command = [process.execPath, builtCommand(), 'import', 'sound', qcow2, '--pool', pool];
    const { status, stdout, stderr } = spawnSync(
      'unshare',
      ['--mount', 'sh', '-c', script, root, ...command],
      {
        encoding: 'utf8',
        cwd: '/',
      },
    );
    expect(refused({ code: status, stdout, stderr }, 7)).toMatch(
      /^coppice: The sandbox .* bwrap said: .*coppice doctor/,
    );
    done(coppice(pool, 'import', 'sound', qcow2));
  });

  test('of a disk that somebody has removed are told alike, and a rollback brings it back', () => {
    done(coppice(pool, 'clone', 'base', 'gone'));
    done(coppice(pool, 'snapshot', 'gone@a'));
    const path = done(coppice(pool, 'path', 'gone')).trim();
    runProgram('rm', [path]);
    for (const args of [
      ['path', 'gone'],
      ['snapshot', 'gone'],
      ['clone', 'gone', 'x'],
      ['seal', 'gone', 'x'],
      ['grow', 'gone', '1G'],
      ['usage', 'gone'],
      ['usage', 'gone', '--exact'],
      ['export', 'gone', join(directory, 'gone.raw')],
    ])
      expect(refused(coppice(pool, ...args), 1), args.join(' ')).toContain('of this volume is gone');
    expect(done(coppice(pool, 'show', 'gone'))).toContain('PROBLEM: The disk of gone is gone');
    done(coppice(pool, 'rollback', 'gone@a'));
    expect(done(coppice(pool, 'path', 'gone')).trim()).toBe(path);
    done(coppice(pool, 'remove', 'gone', '--with-snapshots'));
  });

  test('are JSON on standard error where JSON was asked for', () => {
    done(coppice(pool, 'clone', 'base', 'f-2'));
    done(coppice(pool, 'snapshot', 'f-2@a'));
    const { code, stdout, stderr } = coppice(pool, 'remove', 'f-2', '--json');
    expect(stdout).toBe('');
    expect(JSON.parse(stderr)).toMatchObject({
      error: { code: 'blocked', blockers: [{ kind: 'snapshots', remedy: expect.any(String) }] },
    });
    expect(code).toBe(5);
  });

  test('list every blocker', async () => {
    done(coppice(pool, 'clone', 'base', 'f-3'));
    done(coppice(pool, 'snapshot', 'f-3@a'));
    await using holder = await holdOpen(`${pool}/volumes/f-3/data/disk.raw`);
    const { code, stderr } = coppice(pool, 'remove', 'f-3');
    expect(code).toBe(5);
    expect(stderr.split('\n').filter((line) => line.startsWith('  - '))).toHaveLength(2);
    expect(stderr).toContain(`process ${holder.pid}`);
    expect(refused(coppice(pool, 'rollback', 'f-3@a'), 5)).toContain(`process ${holder.pid}`);
    expect(done(coppice(pool, 'rollback', 'f-3@a', '--dry-run'))).toContain(`process ${holder.pid}`);
    expect(done(coppice(pool, 'grow', 'f-3', '65M'))).toContain('It is in use');
    done(coppice(pool, 'rollback', 'f-3@a', '--force'));
  });

  test('of some of many clones leave the others, and say both', () => {
    done(coppice(pool, 'create', 'some-2', '--size', '1M'));
    const { code, stdout, stderr } = coppice(pool, 'clone', 'base', 'some', '--count', '3');
    expect(code).toBe(4);
    expect(stdout).toBe('Cloned base to 2 volumes: some-1, some-3.\n');
    expect(stderr).toBe(
      'coppice: There is already a volume or template named some-2; choose another name.\ncoppice: 1 of 3 clones were not made.\n',
    );
  });
});
