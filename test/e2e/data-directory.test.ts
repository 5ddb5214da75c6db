import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { runProgram } from '../../src/linux/programs.ts';
import { builtCommand, repository } from '../support/built.ts';
import { scratchDirectory } from '../support/devices.ts';
import { mark } from '../support/marks.ts';
import { coppice } from './command.ts';

const directory = scratchDirectory('data-directory');
const [pool, at, fstab] = ['pool', 'lychd', 'fstab'].map((name) => join(directory, name)) as [
  string,
  string,
  string,
];

afterAll(() => {
  for (const path of [at, pool]) if (existsSync(path)) spawnSync('umount', ['--', path]);
});

test('the script of the page makes a data directory, and changes nothing when it is run again', () => {
  const bin = join(directory, 'bin');
  mkdirSync(bin);
  writeFileSync(join(bin, 'coppice'), `#!/bin/sh\nexec ${process.execPath} ${builtCommand()} "$@"\n`, {
    mode: 0o755,
  });
  writeFileSync(fstab, '');
  const run = (): string => {
    const { status, stdout, stderr } = spawnSync(
      'sh',
      [join(repository, 'docs/examples/data-directory.sh'), 'crypt', at, 'postgres'],
      {
        encoding: 'utf8',
        cwd: '/',
        env: {
          PATH: `${bin}:${process.env['PATH']}`,
          ...mark(),
          ...{ COPPICE_POOL: pool, SIZE: '8G', OWNER: 'nobody', NOCOW: '1', FSTAB: fstab },
        },
      },
    );
    expect(status, stderr).toBe(0);
    return stdout;
  };
  run();
  writeFileSync(join(at, 'file'), 'data');
  const lines = readFileSync(fstab, 'utf8');
  expect(lines.trim().split('\n')).toHaveLength(2);
  run();
  expect(readFileSync(fstab, 'utf8')).toBe(lines);
  expect(readFileSync(join(at, 'file'), 'utf8')).toBe('data');
  expect(runProgram('lsattr', ['-d', join(at, 'postgres')])).toMatch(/^-*C/);
  expect(runProgram('stat', ['-c', '%U', at]).trim()).toBe('nobody');
  expect(coppice(pool, 'get', 'crypt').stdout).toContain('quiesce.postgres=postgres');

  expect(coppice(pool, 'snapshot', 'crypt@a', '--consistency', 'sync').code).toBe(0);
  writeFileSync(join(at, 'file'), 'changed');
  expect(coppice(pool, 'rollback', 'crypt@a').stderr).toBe('');
  expect(readFileSync(join(at, 'file'), 'utf8')).toBe('data');
});
