// Makes what users install: dist/packages/coppice-VERSION.tgz for npm and coppice_VERSION_ARCHITECTURE.deb, with their checksums in
// SHA256SUMS. An argument names another directory for them. The same commit gives the same bytes, wherever it is packaged.
import { createHash } from 'node:crypto';
import {
  mkdirSync,
  mkdtempDisposableSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { Descriptor } from '../src/linux/files.ts';
import { lock } from '../src/linux/locks.ts';
import { commitTime } from './packages/commit-time.ts';
import { makeDeb } from './packages/deb.ts';
import { makeNpmTarball } from './packages/npm-tarball.ts';

const prefix = '.unfinished-';
const target = resolve(process.argv[2] ?? join(dirname(import.meta.dirname), 'dist', 'packages'));
process.chdir(dirname(import.meta.dirname));
mkdirSync(target, { recursive: true });

// One at a time, so that what a killed one has left can be told from what is being made.
using guard = new Descriptor(openSync(target, 'r'));
lock(guard.fd, 'exclusive', true);
for (const name of readdirSync(target).filter((entry) => entry.startsWith(prefix)))
  rmSync(join(target, name), { recursive: true });

// Beside the result, so that publishing is a rename: who looks sees whole packages.
using unfinished = mkdtempDisposableSync(join(target, prefix));
const seconds = commitTime();
const packages = [makeNpmTarball(unfinished.path), makeDeb(unfinished.path, seconds)];
const sums = join(unfinished.path, 'SHA256SUMS');
writeFileSync(sums, packages.map((file) => `${sha256(file)}  ${basename(file)}\n`).join(''));

for (const file of [...packages, sums]) {
  renameSync(file, join(target, basename(file)));
  console.log(join(target, basename(file)));
}

function sha256(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}
