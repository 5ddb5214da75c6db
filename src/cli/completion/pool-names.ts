import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { isName } from '../../model/names.ts';

/** With more volumes than these, whether each has snapshots is not looked up while somebody waits for a shell. */
const manyVolumes = 500;

/**
 * The volumes and templates of a pool, or the snapshots of one, that a word begins like. They are read from the directory alone: the pool is
 * neither opened nor swept. What bears no name of ours, and so could hurt a shell, is left out; links are not followed.
 */
export function poolNames(
  pool: string,
  what: 'entry' | 'snapshot' | 'reference',
  partial: string,
): readonly string[] {
  const volumes = join(pool, 'volumes');
  const at = partial.indexOf('@');
  if (at >= 0) {
    const volume = partial.slice(0, at);
    if (what === 'entry' || !isName(volume)) return [];
    return snapshotsOf(volumes, volume).map((snapshot) => `${volume}@${snapshot}`);
  }
  const names = namesIn(volumes).filter((name) => name.startsWith(partial));
  if (what !== 'snapshot') return names;
  const some =
    names.length > manyVolumes ? names : names.filter((name) => snapshotsOf(volumes, name).length > 0);
  return some.map((name) => `${name}@`);
}

function snapshotsOf(volumes: string, volume: string): string[] {
  const isPlain = lstatSync(join(volumes, volume), { throwIfNoEntry: false })?.isDirectory();
  return isPlain ? namesIn(join(volumes, volume, 'snapshots')) : [];
}

function namesIn(directory: string): string[] {
  try {
    if (!lstatSync(directory).isDirectory()) return [];
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && isName(entry.name))
      .map((entry) => entry.name)
      .sort();
  } catch {
    return []; // not a pool, or not ours to read: then nothing is proposed
  }
}
