import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runProgram } from '../../src/linux/programs.ts';
import { patternBytes } from '../support/content.ts';
import { holdOpen } from '../support/holder.ts';
import { coppice } from './command.ts';
import { commandLinePool, done, refused } from './session.ts';

const { pool } = commandLinePool();
const MiB = 2 ** 20;

function disks(directory: string, ...files: string[]): string {
  const path = join(pool, directory);
  mkdirSync(path, { recursive: true });
  for (const file of files) writeFileSync(join(path, file), patternBytes(1, MiB));
  return path;
}

describe('adopt', () => {
  test('says what would happen, what happened, and that it had happened', () => {
    const [templates, machines] = [
      disks('one/templates', 'base-1.ext4'),
      disks('one/vms', 'one-1.raw', 'one-2.img'),
    ];
    expect(done(coppice(pool, 'adopt', templates, machines, '--dry-run'))).toMatch(
      /^FILE +NAME +TYPE +SIZE +BLOCKS +FILE AFTERWARDS\n.*base-1 +template +1.00 MiB +shared +stays\n.*one-1 +volume .*\n.*one-2 .*\n$/,
    );
    expect(done(coppice(pool, 'adopt', templates, machines))).toBe(
      'Adopted 1 template and 2 volumes. The originals are as they were.\n',
    );
    expect(done(coppice(pool, 'adopt', templates, machines))).toBe(
      '3 disks had been adopted before. The originals are as they were.\n',
    );
    const removed = coppice(pool, 'adopt', templates, machines, '--remove-originals', '--json');
    expect(JSON.parse(done(removed))).toMatchObject({
      adopted: [
        { name: 'base-1', before: true, originalRemoved: true },
        { name: 'one-1' },
        { name: 'one-2' },
      ],
      skipped: [],
      failed: [],
    });
    expect(readdirSync(machines)).toEqual([]);
    expect(done(coppice(pool, 'adopt', machines))).toBe('Adopted nothing.\n');
  });

  test('refuses all with each reason on a line, and goes on with the others when told to', async () => {
    const machines = disks('two', 'two-1.raw', 'my vm.raw', 'esc\u001b[31m.raw');
    writeFileSync(join(machines, 'empty.raw'), '');
    await using holder = await holdOpen(join(machines, 'my vm.raw'));
    const said = refused(coppice(pool, 'adopt', machines), 5);
    expect(said).toContain(`process ${holder.pid}`);
    expect(said).toContain('esc\\u001b[31m.raw');
    expect(said.trimEnd().split('\n')).toHaveLength(5);
    expect(done(coppice(pool, 'list'))).not.toContain('two-1');
    const { code, stdout, stderr } = coppice(pool, 'adopt', machines, '--keep-going');
    expect([code, stdout]).toEqual([5, 'Adopted 1 volume. The originals are as they were.\n']);
    expect(stderr).toContain('coppice: 3 disks could not be adopted.\n');
    const json = coppice(pool, 'adopt', machines, '--keep-going', '--json');
    expect([json.code, json.stderr]).toEqual([5, '']);
    expect(JSON.parse(json.stdout)).toMatchObject({
      adopted: [{ name: 'two-1', before: true }],
      failed: [
        { error: { code: 'blocked' } },
        { error: { code: 'blocked' } },
        { error: { code: 'blocked' } },
      ],
    });
  });

  test('takes other names, and tells a mistake in them', () => {
    const machines = disks('three', 'a=b c.raw');
    refused(coppice(pool, 'adopt', machines, '--rename', 'three'), 2);
    refused(coppice(pool, 'adopt', machines, '--rename', 'never.raw=three'), 2);
    expect(done(coppice(pool, 'adopt', machines, '--rename', 'a=b c.raw=three'))).toContain(
      'Adopted 1 volume.',
    );
    expect(done(coppice(pool, 'path', 'three'))).toContain('/volumes/three/');
    refused(coppice(pool, 'adopt', join(pool, 'volumes/three/data')), 2);
    refused(coppice(pool, 'adopt', join(pool, 'never')), 3);
  });

  test('nodatacow disks share no blocks with a pool that is not, and are copied when that is asked for', () => {
    const machines = disks('four');
    const file = join(machines, 'four.raw');
    writeFileSync(file, '');
    runProgram('chattr', ['+C', '--', file]);
    writeFileSync(file, patternBytes(4, MiB));
    expect(refused(coppice(pool, 'adopt', machines), 5)).toContain('nodatacow');
    expect(done(coppice(pool, 'adopt', machines, '--copy'))).toContain('Adopted 1 volume.');
  });
});
