import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { expect } from 'vitest';
import { architecture, debianVersion } from '../../scripts/packages/deb-control.ts';
import { manifest } from '../../scripts/packages/manifest.ts';
import { builtCommand, repository } from '../support/built.ts';
import { scratchDirectory } from '../support/devices.ts';

export interface Packages {
  readonly deb: string;
  readonly tarball: string;
  readonly sums: string;
}

/**
 * Makes both packages as `npm run package` does, once everything is installed and built, in a directory of this run.
 * @param shell what is done before, in the words of a shell
 */
export function makePackages(shell = ':'): Packages {
  builtCommand();
  const directory = scratchDirectory('packages');
  const { status, stderr } = spawnSync(
    'sh',
    ['-euc', `${shell}; exec "$@"`, 'sh', process.execPath, 'scripts/package.ts', directory],
    { cwd: repository, encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe'] },
  );
  expect(stderr).toBe('');
  expect(status).toBe(0);
  return {
    deb: join(directory, `coppice_${debianVersion()}_${architecture().debian}.deb`),
    tarball: join(directory, `coppice-${manifest.version}.tgz`),
    sums: join(directory, 'SHA256SUMS'),
  };
}

/** The files below a folder of the repository, as paths from its root. */
export function filesBelow(folder: string, ending = ''): string[] {
  const entries = readdirSync(join(repository, folder), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => relative(repository, join(entry.parentPath, entry.name)));
}

/** What a built file loads or starts when it runs, of those that were built with it, each without its `.js`. */
export function builtBeside(name: string): string[] {
  const found = new Set<string>();
  const look = (file: string): void => {
    const source = readFileSync(join(repository, 'dist', `${file}.js`), 'utf8');
    const loaded = source.matchAll(/["'`]\.\/([\w-]+)\.(?:js|\$\{extension\})["'`]/g);
    const started = source.matchAll(/\bstart(?:Script|AsUser)\d*\(\s*"([\w-]+)"/g);
    for (const [, other = ''] of [...loaded, ...started]) {
      if (found.has(other)) continue;
      found.add(other);
      // What the client of a database is made of names files of its own in the same way, and nothing of ours.
      if (!other.endsWith('-client')) look(other);
    }
  };
  look(name);
  return [...found];
}
