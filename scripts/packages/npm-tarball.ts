import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { manifest } from './manifest.ts';

/**
 * Packs what `files` in package.json names, and returns the path. koffi is not in it: npm chooses its library for the machine that
 * it installs on, and a tarball with one inside would be for one architecture.
 */
export function makeNpmTarball(directory: string): string {
  // dist is current, so `prepack` has nothing to do. npm sorts, and gives every file the same owner and time.
  execFileSync('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', directory], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, PATH: pathOfTheSystem() },
  });
  return join(directory, `${manifest.name}-${manifest.version}.tgz`);
}

/** An npm that a system brings may not work on the Node that lies in node_modules. */
function pathOfTheSystem(): string {
  const folders = (process.env['PATH'] ?? '').split(':');
  return folders.filter((folder) => !folder.endsWith('node_modules/.bin')).join(':');
}
