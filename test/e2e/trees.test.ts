import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { readMounts } from '../../src/linux/mounts.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { scratchDirectory } from '../support/devices.ts';
import { runDirectory } from '../support/run-directory.ts';
import { coppice } from './command.ts';
import { commandLinePool, done, refused } from './session.ts';

const { pool } = commandLinePool();

/** What a case that failed has left mounted would keep the pool. */
afterEach(() => {
  for (const { mountPoint } of readMounts().reverse())
    if (mountPoint.startsWith(`${runDirectory()}/home-`)) runProgram('umount', ['--', mountPoint]);
});

function boot(): string[] {
  return ['--fstab', join(scratchDirectory('etc'), 'fstab'), '--unit-directory', scratchDirectory('units')];
}

describe('mount and unmount', () => {
  test('say what would happen, what happened, and what a service needs', () => {
    const [files, at] = [boot(), join(scratchDirectory('home'), 'data')];
    done(coppice(pool, 'create', 'crypt', '--kind', 'tree'));
    const dry = done(coppice(pool, 'mount', 'crypt', at, '--dry-run', ...files));
    expect(dry).toContain(
      `crypt would be mounted on ${at}.\nWould write to ${files[1]}:\n  ${pool}/volumes/crypt/active ${at} none bind,nofail`,
    );
    expect(existsSync(at)).toBe(false);
    const said = done(coppice(pool, 'mount', 'crypt', at, ...files));
    expect(said).toContain(`crypt is mounted on ${at}.\nWrote to ${files[1]}:`);
    expect(said).toContain(`RequiresMountsFor=${at}\n`);
    expect(done(coppice(pool, 'list'))).toMatch(new RegExp(`^NAME .* AT .*\n[^]*crypt .*${at}`));
    expect(done(coppice(pool, 'show', 'crypt'))).toMatch(/At: +.*data \(mount, at boot by fstab\)/);
    expect(refused(coppice(pool, 'remove', 'crypt'), 5)).toContain('coppice unmount crypt');
    expect(done(coppice(pool, 'unmount', 'crypt', at, ...files))).toBe(`Took crypt from ${at}.\n`);
    expect(done(coppice(pool, 'mount', 'crypt', at, '--link', ...files))).toContain(
      `crypt is linked at ${at}.\n`,
    );
    expect(lstatSync(at).isSymbolicLink()).toBe(true);
    expect(JSON.parse(done(coppice(pool, 'unmount', 'crypt', '--json', ...files)))).toEqual({
      volume: 'crypt',
      path: at,
    });
    done(coppice(pool, 'remove', 'crypt'));
  });

  test('creating at a place, and what nodatacow costs', () => {
    const at = join(scratchDirectory('home'), 'data');
    const { code, stdout, stderr } = coppice(
      pool,
      ...['create', 'pg', '--kind', 'tree', '--nocow', 'base', '--at', at, '--link', '--mode', '0700'],
    );
    expect([code, stdout.split('\n', 2)]).toEqual([
      0,
      ['Created pg, a directory tree.', `pg is linked at ${at}.`],
    ]);
    expect(stderr).toContain('no checksums');
    expect(stderr).toContain('docs/trees.md');
    expect(lstatSync(`${at}/.`).mode & 0o777).toBe(0o700);
    refused(coppice(pool, 'create', 'other', '--kind', 'tree', '--link'), 2);
    refused(coppice(pool, 'create', 'other', '--kind', 'tree', '--mode', 'rwx'), 2);
    done(coppice(pool, 'unmount', 'pg'));
    done(coppice(pool, 'remove', 'pg'));
  });
});

describe('adopt --kind tree', () => {
  test('takes a directory in, tells the way back, and goes it', () => {
    const at = join(pool, 'data');
    mkdirSync(at);
    writeFileSync(join(at, 'file'), 'x');
    expect(done(coppice(pool, 'adopt', '--kind', 'tree', at, '--dry-run'))).toBe(
      `Would adopt ${at} as data (2 names, 1 B), sharing its blocks.\n`,
    );
    const said = done(coppice(pool, 'adopt', '--kind', 'tree', at));
    expect(said).toMatch(
      /^Adopted .*\/data as data, sharing its blocks. It is there through a link now; what was there is .*\/data\.before-adoption-\d{8}-\d{6}\.\n/,
    );
    expect(readFileSync(join(at, 'file'), 'utf8')).toBe('x');
    const way = /coppice (adopt --kind tree --undo .*)\n/.exec(said)?.[1]?.split(' ') ?? [];
    expect(done(coppice(pool, ...way))).toContain('Put back');
    expect(readdirSync(at)).toEqual(['file']);
    refused(coppice(pool, ...way), 3);
    refused(coppice(pool, 'adopt', at, '--undo'), 2);
    refused(coppice(pool, 'adopt', '--kind', 'tree', at, at), 2);
    done(coppice(pool, 'remove', 'data'));
    done(coppice(pool, 'adopt', '--kind', 'tree', at));
    expect(done(coppice(pool, 'adopt', '--kind', 'tree', at, '--remove-originals'))).toMatch(
      /^Removed .*\.\n$/,
    );
    done(coppice(pool, 'unmount', 'data'));
    done(coppice(pool, 'remove', 'data'));
  });
});
