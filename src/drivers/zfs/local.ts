import type { NvObject } from '../../linux/nvlist.ts';
import { localOf } from './look.ts';

/**
 * What somebody has set on a volume itself by `zfs set`. A rollback makes a new dataset, which has to have it, too. Not the
 * reservations: both states would have them, and ask for twice the space.
 */
export interface LocalProperties {
  /** What is given to a dataset when it is made. */
  readonly atBirth: NvObject;
  /** `NAME=VALUE`, for which only `zfs set` knows the kernel's numbers. */
  readonly afterwards: readonly string[];
}

const texts: ReadonlySet<string> = new Set(['mountpoint']);
const numbers: ReadonlySet<string> = new Set(['recordsize', 'quota', 'refquota', 'special_small_blocks']);
const choices: ReadonlySet<string> = new Set([
  ...['compression', 'checksum', 'copies', 'dedup', 'sync', 'logbias', 'primarycache', 'secondarycache'],
  ...['redundant_metadata', 'snapdev', 'volmode'],
  ...[
    'atime',
    'relatime',
    'xattr',
    'acltype',
    'aclinherit',
    'exec',
    'setuid',
    'devices',
    'snapdir',
    'dnodesize',
  ],
]);

export function localProperties(zpool: string, dataset: string): LocalProperties {
  const { native, user } = localOf(zpool, dataset, [...texts, ...numbers, ...choices]);
  const entries = Object.entries(native);
  return {
    atBirth: {
      ...user,
      ...Object.fromEntries(entries.filter(([name]) => texts.has(name))),
      ...Object.fromEntries(
        entries.filter(([name]) => numbers.has(name)).map(([name, value]) => [name, BigInt(value)]),
      ),
    },
    afterwards: entries.filter(([name]) => choices.has(name)).map(([name, value]) => `${name}=${value}`),
  };
}
