import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { depends } from '../../scripts/packages/deb-control.ts';
import { manifest } from '../../scripts/packages/manifest.ts';
import { Descriptor } from '../../src/linux/files.ts';
import { lock } from '../../src/linux/locks.ts';
import { aptSettings, codename, debianSources, run } from '../support/debian.ts';
import { scratchDirectory } from '../support/devices.ts';

/** What a user of Node 24 has at the time of writing. */
const npm = 'npm@11.21.2';

/** What Coppice uses for qcow2 images. The third that it recommends, xfsprogs, would bring Python with it. */
export const imageTools: readonly string[] = ['bubblewrap', 'qemu-utils'];

/** The directory of npm's cache inside; it has what ours depends on, and nothing else. */
export const npmCache = '/var/cache/npm';

export interface CleanDebian {
  /** Undefined where it can't be made. */
  readonly archive: string | undefined;
  /** For the title of tests that need it: empty, or why they are skipped. */
  readonly unless: string;
}

/**
 * A fresh Debian of the release that runs here, packed: nothing but what every Debian has, npm, and in the caches of apt and npm
 * what our packages depend on, so that they can be installed without a network. It is made once, from the mirrors that apt knows
 * here, and kept in the user's cache; where there is no network to make it, tests are skipped, but not in CI.
 */
export function cleanDebian(): CleanDebian {
  const cache = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'coppice');
  mkdirSync(cache, { recursive: true, mode: 0o700 });
  using guard = new Descriptor(openSync(cache, 'r'));
  lock(guard.fd, 'exclusive', true);
  const archive = join(cache, `clean-debian-${recipe()}.tar`);
  try {
    if (!existsSync(archive)) make(archive);
  } catch (error) {
    if (process.env['CI'] || !(error instanceof Error)) throw error;
    return { archive: undefined, unless: ` (skipped: no clean Debian: ${reason(error.message)})` };
  }
  for (const old of readdirSync(cache).filter((name) => name.startsWith('clean-debian-')))
    if (join(cache, old) !== archive) rmSync(join(cache, old));
  return { archive, unless: '' };
}

/** The line of what a program said that is about its failure; npm has others behind it. */
function reason(message: string): string {
  const lines = message.trim().split('\n');
  return (lines.slice(1).findLast((line) => /fail|error:/i.test(line)) ?? lines.at(-1) ?? '').trim();
}

/** Another one is made when anything changes that goes into it. */
function recipe(): string {
  const parts = [readFileSync(import.meta.filename), codename(), process.arch, ...depends];
  const hash = createHash('sha256');
  for (const part of [...parts, JSON.stringify(manifest.dependencies)]) hash.update(part).update('\0');
  return hash.digest('hex').slice(0, 16);
}

function make(archive: string): void {
  const work = scratchDirectory('clean-debian');
  const [added, settings, sources] = [
    join(work, 'added'),
    join(work, 'apt.conf'),
    join(work, 'sources.list'),
  ];
  addNpm(added);
  writeFileSync(settings, aptSettings());
  writeFileSync(sources, debianSources(work).join('\n'));
  const needed = [...depends.map((dependency) => dependency.split(' ', 1)[0]), ...imageTools].join(' ');
  const unfinished = join(work, 'clean-debian.tar');
  const hooks = [
    'rm -f "$1"/var/cache/apt/archives/*.deb',
    `chroot "$1" apt-get install --yes --quiet --download-only --no-install-recommends ${needed}`,
    `sync-in ${added} /`,
  ];
  const options = [
    '--quiet',
    '--mode=root',
    '--variant=apt',
    '--skip=cleanup/apt',
    // It lives for a test, and need not survive a power cut.
    '--dpkgopt=force-unsafe-io',
    `--aptopt=${settings}`,
    ...hooks.map((hook) => `--customize-hook=${hook}`),
  ];
  // What it mounts can be seen by nobody else, and is gone with it, however it ends.
  const command = ['mmdebstrap', ...options, codename(), unfinished, sources];
  run('unshare', ['--mount', '--', ...command], { TMPDIR: work });
  // The cache may be on another file system than the temporary directory.
  run('cp', ['--sparse=always', '--', unfinished, `${archive}.unfinished`]);
  renameSync(`${archive}.unfinished`, archive);
  rmSync(work, { recursive: true });
}

/** npm, and a cache with the packages that ours depends on, and koffi's library for this processor. */
function addNpm(root: string): void {
  const prefix = join(root, 'usr/local');
  mkdirSync(prefix, { recursive: true });
  // Without a network it fails soon.
  const options = ['--logs-max=0', '--fetch-retries=1', '--no-audit', '--ignore-scripts'];
  run('npm', ['install', '--global', '--prefix', prefix, ...options, npm]);
  const { dependencies } = manifest;
  const packages = [
    ...Object.entries(dependencies).map(([name, version]) => `${name}@${version}`),
    `@koromix/koffi-linux-${process.arch}@${dependencies['koffi']}`,
  ];
  const command = join(prefix, 'lib/node_modules/npm/bin/npm-cli.js');
  run(process.execPath, [command, 'cache', 'add', '--cache', join(root, npmCache), ...options, ...packages]);
}
