import { statSync } from 'node:fs';
import { isSame } from '../linux/same-file.ts';

/**
 * Whether the file that a hypervisor names is a disk of ours. `unknown` when that name means nothing here, as when the hypervisor
 * lives in a root directory of its own, or was given an open file.
 */
export function fitsPath(named: string, path: string): 'same' | 'another' | 'unknown' {
  if (named === path || isSame(named, path)) return 'same';
  return named.startsWith('/') && isThere(named) ? 'another' : 'unknown';
}

function isThere(path: string): boolean {
  try {
    const status = statSync(path);
    return status.isFile() || status.isBlockDevice();
  } catch {
    return false;
  }
}
