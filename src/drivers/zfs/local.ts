import { Dataset } from '../../linux/libzfs.ts';
import type { NvObject } from '../../linux/nvlist.ts';

/** Of what ZFS itself knows, what a rollback keeps. Not the reservations: both states would have them, and ask for twice the space. */
const kept: ReadonlySet<string> = new Set([
  ...['mountpoint', 'recordsize', 'quota', 'refquota', 'special_small_blocks'],
  ...['compression', 'checksum', 'copies', 'dedup', 'sync', 'logbias', 'primarycache', 'secondarycache'],
  ...['redundant_metadata', 'snapdev', 'volmode', 'atime', 'relatime', 'xattr', 'acltype', 'aclinherit'],
  ...['exec', 'setuid', 'devices', 'snapdir', 'dnodesize'],
]);

/** What somebody has set on a volume itself by `zfs set`. A rollback makes a new dataset, which has to have it, too. */
export function localProperties(name: string): NvObject {
  using dataset = Dataset.open(name);
  const own = [...(dataset?.own() ?? [])];
  return Object.fromEntries(
    own.filter(([each]) => kept.has(each) || (each.includes(':') && !each.startsWith('coppice:'))),
  );
}
