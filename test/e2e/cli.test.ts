import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runProgram } from '../../src/linux/programs.ts';
import { builtCommand } from '../support/built.ts';
import { writePattern } from '../support/content.ts';
import { sparseFile } from '../support/devices.ts';
import { coppice, onTerminal, shell } from './command.ts';
import { commandLinePool, done, refused } from './session.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;

const { directory, pool, image } = commandLinePool();

function refusedJson(...args: readonly string[]): string {
  const { stdout, stderr } = coppice(pool, ...args);
  expect(stdout).toBe('');
  return stderr;
}

describe('each command', () => {
  const json = (...args: readonly string[]): unknown => JSON.parse(done(coppice(pool, ...args, '--json')));

  test('goes through the life of a disk, in words', () => {
    const say = (...args: readonly string[]): string => done(coppice(pool, ...args));
    expect(say('create', 'life', '--size', '5000')).toBe(
      'Created volume life: 8.00 KiB (rounded up from 5000 bytes).\n',
    );
    expect(say('create', 'tiny', '--size', '1')).toBe(
      'Created volume tiny: 4.00 KiB (rounded up from 1 byte).\n',
    );
    expect(say('clone', 'base', 'life-1')).toBe('Cloned base to life-1: 64.0 MiB.\n');
    expect(say('clone', 'base', 'life-2', '--size', '100000001')).toBe(
      'Cloned base to life-2: 95.4 MiB (rounded up from 100000001 bytes).\n',
    );
    expect(say('clone', 'base', 'many', '--count', '4')).toBe(
      'Cloned base to 4 volumes: many-1 to many-4.\n',
    );
    expect(say('snapshot', 'life-1@a')).toBe('Took snapshot life-1@a.\n');
    expect(say('snapshot', 'life-1')).toMatch(/^Took snapshot life-1@snap-\d{8}-\d{6}\.\n$/);
    expect(say('snapshot', 'life-1', 'life-2', '--name', 'both')).toMatch(
      /^Took snapshots life-1@both, life-2@both\.\nThey do not hold the same instant: they were taken within \d+\.\d ms; group [0-9a-f-]{36}\.\n$/,
    );
    expect(say('show', 'life-2')).toMatch(/\n {2}both {2}.* {2}group [0-9a-f-]{36}\n$/);
    expect(say('remove', 'life-2@both', 'life-1@both')).toBe('Removed life-1@both, life-2@both.\n');
    expect(say('rollback', 'life-1@a', '--dry-run')).toBe(
      'Would roll life-1 back to a, and keep the replaced state as a snapshot.\n',
    );
    expect(say('rollback', 'life-1@a')).toMatch(
      /^Rolled life-1 back to a\.\nThe replaced state is kept; to undo: coppice rollback life-1@pre-rollback-\d{8}-\d{6}\n$/,
    );
    expect(say('list')).toMatch(/^NAME +TYPE +SIZE +SNAPSHOTS +ORIGIN +CREATED\n/);
    expect(say('ls', '--type', 'template')).toMatch(/^NAME.*\nbase +template +64.0 MiB .*\n$/);
    expect(say('list', '-t', 'snapshot')).toMatch(/^SNAPSHOT .*\nlife-1@a +64.0 MiB +sync +user /);
    expect(say('show', 'life-1')).toMatch(/^Name: {4}life-1\nType: {4}volume\n/);
    expect(say('tree', 'base')).toMatch(/^base {2}\[template\]\n├─ life-1\n/);
    expect(say('usage', 'life-1')).toMatch(/^NAME .*\nlife-1 +64.0 MiB +2.00 MiB +0 B /);
    expect(say('usage', 'life-1', '--exact')).toMatch(/\nlife-1 +64.0 MiB +2.00 MiB +0 B /);
    expect(say('path', 'life-1')).toBe(`${pool}/volumes/life-1/data/disk.raw\n`);
    expect(say('path', 'life-1@a')).toBe(`${pool}/volumes/life-1/snapshots/a/data/disk.raw\n`);
    expect(say('grow', 'life-1', '128M')).toBe('Grew life-1 from 64.0 MiB to 128 MiB.\n');
    expect(say('grow', 'life-1', '128M')).toBe('life-1 has 128 MiB already.\n');
    expect(say('rename', 'life-2', 'life-two')).toBe('Renamed life-2 to life-two.\n');
    expect(say('seal', 'life-1', 'sealed')).toMatch(
      /^Sealed life-1 as template sealed: 128 MiB, \d+ extents?\.\n$/,
    );
    expect(say('export', 'life-two', join(directory, 'two.raw'))).toContain(': 95.4 MiB, raw.\n');
    expect(statSync(join(directory, 'two.raw')).size).toBe(100003840);
    expect(say('export', 'base', join(directory, 'base.qcow2'), '--format', 'qcow2')).toContain(
      ': 64.0 MiB, qcow2.\n',
    );
    expect(say('import', 'again', join(directory, 'base.qcow2'))).toMatch(
      /^Imported template again: 64.0 MiB, \d+ extents?\.\n$/,
    );
    expect(say('remove', 'many-4', '--dry-run')).toBe('Would remove many-4.\n');
    expect(say('remove', 'many-3', 'many-4')).toBe('Removed many-3, many-4.\n');
    expect(say('rm', 'many-4', '--if-exists')).toBe('Nothing to remove.\n');
    expect(say('pool', 'show')).toMatch(/^Pool: {9}.*\nDriver: {7}btrfs\n/);
    expect(say('pool', 'create')).toBe(`${pool} is a pool already; nothing to do.\n`);
    expect(say('pool', 'check')).toBe('All is well.\n');
    expect(say('version')).toMatch(/^coppice \d+\.\d+\.\d+ \(Node 2\d\..*, Linux .*\)\n$/);
    expect(say('--version')).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  test('names of many are cut short where they say what was done, and not where they say what would be', () => {
    const names = Array.from({ length: 12 }, (_, index) => `crowd-${10 + index}`);
    for (const name of names) done(coppice(pool, 'create', name, '--size', '1M'));
    const first = names.slice(0, 10);
    const say = (...args: string[]): string => done(coppice(pool, ...args));
    expect(say('snapshot', ...names, '--name', 's')).toContain(
      `Took snapshots ${first.map((name) => `${name}@s`).join(', ')} and 2 more.\n`,
    );
    expect(say('remove', '--with-snapshots', '--dry-run', ...names)).toMatch(
      /^Would remove 24:\n( {2}\S+\n){24}$/,
    );
    expect(say('remove', '--with-snapshots', ...names)).toBe(`Removed ${first.join(', ')} and 14 more.\n`);
  });

  test('a changed snapshot is used, with a warning beside the result', () => {
    done(coppice(pool, 'create', 'changed', '--size', '1M'));
    done(coppice(pool, 'snapshot', 'changed@s'));
    const disk = done(coppice(pool, 'path', 'changed@s')).trim();
    runProgram('btrfs', ['property', 'set', '-f', '-ts', join(disk, '..'), 'ro', 'false']);
    writePattern(disk, 1, 0, 4096);
    for (const args of [
      ['rollback', 'changed@s', '--json'],
      ['clone', 'changed@s', 'of-changed', '--json'],
      ['clone', 'changed@s', 'of-changed', '--count', '3', '--json'],
    ]) {
      const { code, stdout, stderr } = coppice(pool, ...args);
      expect(code).toBe(0);
      expect(stdout).toMatch(/changed@s has changed since it was taken/);
      expect(stderr.match(/^coppice: warning: The snapshot changed@s has changed.*$/gm)).toHaveLength(1);
      expect(() => JSON.parse(stdout)).not.toThrow();
    }
    done(
      coppice(
        pool,
        'remove',
        'changed',
        '--with-snapshots',
        'of-changed',
        'of-changed-1',
        'of-changed-2',
        'of-changed-3',
      ),
    );
  });

  test('prints JSON, and only that', () => {
    const bytes = 64 * MiB;
    expect(json('create', 'j-0', '--size', '1M')).toEqual({
      name: 'j-0',
      id: expect.any(String),
      bytes: MiB,
      created: expect.any(String),
    });
    expect(json('clone', 'base', 'j-1')).toMatchObject({ name: 'j-1', bytes, method: 'reflink' });
    expect(json('clone', 'base', 'j-2', '--replicable')).toMatchObject({ method: 'snapshot' });
    const some = coppice(pool, 'clone', 'base', 'j', '--count', '3', '--size', '65M', '--json');
    expect(some).toMatchObject({ code: 4, stderr: '' });
    expect(JSON.parse(some.stdout)).toMatchObject({
      cloned: [{ name: 'j-3', bytes: 65 * MiB }],
      failed: [
        { name: 'j-1', error: { code: 'already_exists' } },
        { name: 'j-2', error: { code: 'already_exists' } },
      ],
    });
    expect(json('snapshot', 'j-1@s')).toMatchObject({ reference: 'j-1@s', consistency: 'sync' });
    expect(json('rollback', 'j-1@s')).toMatchObject({ volume: 'j-1', undo: expect.stringMatching(/^j-1@/) });
    expect(json('list')).toContainEqual(expect.objectContaining({ name: 'base', type: 'template' }));
    expect(json('list', '--type', 'snapshot')).toContainEqual(
      expect.objectContaining({ reference: 'j-1@s' }),
    );
    expect(json('show', 'j-1')).toMatchObject({ name: 'j-1', problems: [] });
    expect(json('tree', 'j-1')).toMatchObject([{ name: 'j-1', type: 'volume', children: [] }]);
    expect(json('usage', 'j-1', '--exact')).toMatchObject({ usages: [{ exclusiveBytes: 0 }] });
    expect(json('path', 'j-1')).toMatchObject({ reference: 'j-1', path: expect.any(String) });
    expect(json('grow', 'j-1', '65M')).toMatchObject({ previousBytes: 64 * MiB, inUse: false });
    expect(json('rename', 'j-1', 'j-one')).toEqual({ from: 'j-1', name: 'j-one' });
    expect(json('seal', 'j-one', 'j-t')).toMatchObject({ name: 'j-t', extents: expect.any(Number) });
    expect(json('export', 'j-one', join(directory, 'j.raw'))).toMatchObject({ format: 'raw' });
    expect(json('import', 'j-i', image)).toMatchObject({ format: 'raw', shared: false });
    expect(json('remove', 'j-one', '--with-snapshots')).toMatchObject({ removed: ['j-one'] });
    expect(json('pool', 'show')).toMatchObject({ driver: 'btrfs', backing: { type: 'loop' } });
    expect(json('pool', 'check')).toEqual([]);
    expect(json('pool', 'create')).toMatchObject({ steps: [] });
    expect(json('pool', 'grow', '9G')).toMatchObject({ bytes: 9 * GiB, previousBytes: 8 * GiB });
    expect(json('pool', 'persist', '--dry-run')).toMatchObject({ requiresMountsFor: expect.any(String) });
    expect(json('pool', 'destroy', pool, '--dry-run')).toMatchObject({ path: pool });
    expect(json('version')).toMatchObject({ coppice: expect.any(String), node: expect.any(String) });
  });

  test('takes the pool from the flag before the variable, and in front of the command too', () => {
    const flags = ['--pool', pool];
    expect(done(coppice('/nowhere', 'path', 'base', ...flags))).toContain(pool);
    expect(done(coppice('/nowhere', ...flags, 'path', 'base'))).toContain(pool);
    expect(JSON.parse(done(coppice('/nowhere', '--json', `--pool=${pool}`, 'path', 'base')))).toBeTypeOf(
      'object',
    );
    refused(coppice(pool, 'path', 'base', '--pool', '/nowhere'), 7);
  });
});

describe('where there is nothing', () => {
  test('list, tree and usage say so beside an empty result, and what to do', () => {
    const own = join(directory, 'empty');
    done(coppice(own, 'pool', 'create', '--size', '4G'));
    const start =
      'coppice: Nothing here yet; "coppice import NAME SOURCE" makes a template from a disk image.\n';
    for (const args of [['list'], ['list', '--type', 'template'], ['tree'], ['usage']])
      expect(coppice(own, ...args), args.join(' ')).toEqual({ code: 0, stdout: '', stderr: start });
    for (const args of [['list'], ['list', '--type', 'snapshot'], ['tree']])
      expect(JSON.parse(done(coppice(own, ...args, '--json')))).toEqual([]);
    expect(JSON.parse(done(coppice(own, 'usage', '--json')))).toEqual({ usages: [] });
    done(coppice(own, 'create', 'v', '--size', '1M'));
    expect(coppice(own, 'list', '--type', 'template')).toEqual({
      code: 0,
      stdout: '',
      stderr: 'coppice: No templates here; "coppice list" shows what there is.\n',
    });
    expect(coppice(own, 'list', '--type', 'snapshot')).toEqual({
      code: 0,
      stdout: '',
      stderr: 'coppice: No snapshots yet; "coppice snapshot VOLUME" takes one.\n',
    });
    done(coppice(own, 'pool', 'destroy', own, '--yes'));
  });
});

describe('snapshots inside of a qcow2 image', () => {
  test('are left out, and that is said', () => {
    const qcow2 = join(directory, 'with-snapshots.qcow2');
    runProgram('qemu-img', ['create', '-q', '-f', 'qcow2', qcow2, '1M']);
    runProgram('qemu-img', ['snapshot', '-c', 'one', qcow2]);
    const { code, stdout, stderr } = coppice(pool, 'import', 'with-snapshots', qcow2);
    expect([code, stdout]).toEqual([0, 'Imported template with-snapshots: 1.00 MiB, 0 extents.\n']);
    expect(stderr).toBe(
      `coppice: warning: ${qcow2} has 1 snapshot inside, which was not imported; to import one, write it to a file of its own first, with "qemu-img convert -l SNAPSHOT".\n`,
    );
    const { stdout: json, stderr: nothing } = coppice(pool, 'import', 'with-snapshots-2', qcow2, '--json');
    expect([JSON.parse(json).snapshotsLeftOut, nothing]).toEqual([1, '']);
  });
});

describe('as a citizen of the shell', () => {
  test('it prints no colours and no progress where there is no terminal', () => {
    for (const args of [['list'], ['--help'], ['nonsense'], ['show', 'nobody'], ['import', 'shell', image]]) {
      const { stdout, stderr } = coppice(pool, ...args);
      expect(stdout + stderr).not.toContain('\x1b');
      expect(stdout + stderr).not.toContain('\r');
    }
  });

  test('what a file name would have a terminal do is spelled out', async () => {
    const evil = join(directory, 'a\x1b]0;owned\x07b\nc\x9bd\u202ee');
    const spelled = join(directory, 'a\\u001b]0;owned\\u0007b\\u000ac\\u009bd\\u202ee');
    expect(refused(coppice(pool, 'import', 'evil', evil), 3)).toBe(`coppice: There is no file ${spelled}.\n`);
    const { error } = JSON.parse(refusedJson('import', 'evil', evil, '--json'));
    expect(error.message).toBe(`There is no file ${evil}.`);
    // A path that goes to a program is left as it is; on a terminal it is shown.
    done(coppice(evil, 'pool', 'create', '--size', '4G'));
    done(coppice(evil, 'create', 'v', '--size', '1M'));
    expect(done(coppice(evil, 'path', 'v'))).toBe(`${evil}/volumes/v/data/disk.raw\n`);
    if (existsSync('/usr/bin/script')) {
      const { screen } = await onTerminal(evil, 'coppice path v', 'never asked', '');
      expect(screen.replaceAll('\r\n', '\n')).toBe(
        `${spelled.replace('\\u000a', '\n')}/volumes/v/data/disk.raw\n`,
      );
    }
    mkdirSync(join(evil, 'volumes', 'x\x1b[31m\ny'));
    expect(done(coppice(evil, 'list'))).toMatch(/^x\\u001b\[31m\\u000ay +foreign /m);
    const forged = 'x\nerror: all is lost\x1b[31m';
    mkdirSync(join(evil, 'volumes/v', forged));
    for (const { stdout } of [coppice(evil, 'pool', 'check'), coppice(evil, 'show', 'v')]) {
      expect(stdout).toContain('x\\u000aerror: all is lost\\u001b[31m');
      expect(stdout).not.toMatch(/^error/m);
    }
    runProgram('umount', ['--', evil]);
  });

  test('a reader that leaves early is no error', () => {
    const names = Array.from({ length: 3 }, (_, index) => `a${index}`);
    for (const name of names) done(coppice(pool, 'create', name, '--size', '1M'));
    const { stdout, stderr } = shell(pool, 'coppice list | head -1; echo $PIPESTATUS');
    expect(stdout).toMatch(/^NAME .*\n0\n$/);
    expect(stderr).toBe('');
    expect(shell(pool, 'set -o pipefail; coppice list | true')).toMatchObject({ code: 0, stderr: '' });
  });

  test('an output that can not be written is an error', () => {
    const { code, stderr } = shell(pool, 'coppice list > /dev/full');
    expect(stderr).toMatch(/^coppice: The result could not be written: ENOSPC.*\.\n$/);
    expect(code).toBe(1);
  });

  test('Ctrl-C cancels an import, and nothing of it is left', async () => {
    const large = sparseFile(2 * GiB);
    for (let at = 0; at < 2048; at += 8) writePattern(large, at, at * MiB, 4 * MiB);
    const child = spawn(process.execPath, [builtCommand(), 'import', 'large', large], {
      env: { ...process.env, COPPICE_POOL: pool },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const errors: Buffer[] = [];
    child.stderr.on('data', (chunk: Buffer) => errors.push(chunk));
    const staging = (): string[] => readdirSync(join(pool, '.staging'));
    while (child.exitCode === null && staging().length === 0)
      await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill('SIGINT');
    const [code] = (await once(child, 'close')) as [number | null];
    expect(Buffer.concat(errors).toString()).toBe(
      'coppice: The import of large was cancelled; nothing of it is left.\n',
    );
    expect(code).toBe(130);
    expect(staging()).toEqual([]);
    refused(coppice(pool, 'show', 'large'), 3);
  });

  test('pool check says by its exit code how bad it is', () => {
    const own = join(directory, 'checked');
    done(coppice(own, 'pool', 'create', '--size', '4G'));
    done(coppice(own, 'create', 'v', '--size', '1M'));
    done(coppice(own, 'pool', 'check'));
    writeFileSync(join(own, 'stranger'), '');
    const warned = coppice(own, 'pool', 'check');
    expect(warned).toMatchObject({ code: 10, stderr: '' });
    expect(warned.stdout).toMatch(/^warning: .*stranger was not made by Coppice.*\n$/);
    runProgram('rm', [`${own}/volumes/v/data/disk.raw`]);
    const failed = coppice(own, 'pool', 'check', '--json');
    expect(failed).toMatchObject({ code: 11, stderr: '' });
    expect(JSON.parse(failed.stdout)).toContainEqual(
      expect.objectContaining({ severity: 'error', subject: 'v' }),
    );
    done(coppice(own, 'pool', 'destroy', own, '--yes'));
  });
});
