import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempDisposableSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { architecture, control, debianVersion } from './deb-control.ts';
import { executables, layOutFiles } from './deb-files.ts';
import { manifest } from './manifest.ts';

/**
 * Makes the Debian package, and returns its path. It brings its own Node, because no Debian has one that is new enough. Nothing
 * runs when it is installed or removed: it has no service, and pools are the user's.
 * @param seconds the time that its files carry, since 1970
 */
export function makeDeb(directory: string, seconds: number): string {
  using tree = mkdtempDisposableSync(join(directory, 'deb-'));
  layOutFiles(tree.path, seconds);
  const files = everythingIn(tree.path);
  writeControl(tree.path, files);
  for (const file of ['.', ...everythingIn(tree.path)]) settle(join(tree.path, file), executables.has(file));

  const deb = join(directory, `${manifest.name}_${debianVersion()}_${architecture().debian}.deb`);
  // xz makes it a fifth smaller, and takes eight times as long; dpkg reads zstd from Debian 12 on.
  const compression = ['-Zzstd', '-z10', '--threads-max=1'];
  execFileSync('dpkg-deb', ['--root-owner-group', ...compression, '--build', '--', tree.path, deb], {
    stdio: ['ignore', 'ignore', 'inherit'],
    // Files that are newer get this time: all of them.
    env: { ...process.env, SOURCE_DATE_EPOCH: String(seconds), LC_ALL: 'C' },
  });
  return deb;
}

function writeControl(tree: string, files: readonly string[]): void {
  const regular = files.filter((file) => lstatSync(join(tree, file)).isFile());
  const sums = regular.map((file) => {
    const hash = createHash('md5')
      .update(readFileSync(join(tree, file)))
      .digest('hex');
    return `${hash}  ${file}\n`;
  });
  mkdirSync(join(tree, 'DEBIAN'));
  writeFileSync(join(tree, 'DEBIAN', 'md5sums'), sums.join(''));
  writeFileSync(join(tree, 'DEBIAN', 'control'), control(installedSize(tree, files)));
}

/** Modes do not come from the umask. */
function settle(path: string, isExecutable: boolean): void {
  const status = lstatSync(path);
  if (!status.isSymbolicLink()) chmodSync(path, status.isDirectory() || isExecutable ? 0o755 : 0o644);
}

/** In KiB, as Debian counts: each file rounded up, one for anything else. */
function installedSize(tree: string, files: readonly string[]): number {
  return files.reduce((sum, file) => {
    const status = lstatSync(join(tree, file));
    return sum + (status.isFile() ? Math.ceil(status.size / 1024) : 1);
  }, 0);
}

/** Paths below it, sorted the same everywhere. */
function everythingIn(tree: string): string[] {
  return readdirSync(tree, { recursive: true, encoding: 'utf8' }).sort();
}
