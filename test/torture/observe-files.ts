import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { readAttributeByPath } from '../../src/linux/attributes.ts';
import { readDisk } from '../support/guest.ts';
import type { Disk, ModelState } from '../support/model.ts';

/** What a pool holds, read from its files alone: what a person would find who has lost the program. */
export function observeFiles(pool: string): ModelState {
  const volumes = join(pool, 'volumes');
  return Object.fromEntries(
    readdirSync(volumes).map((name) => {
      const directory = join(volumes, name);
      const snapshots = join(directory, 'snapshots');
      const names = readdirSync(directory).includes('snapshots') ? readdirSync(snapshots) : [];
      const attribute = readAttributeByPath(directory, 'user.coppice')?.toString() ?? '{}';
      return [
        name,
        {
          ...diskIn(directory),
          sealed: 'sealed' in (JSON.parse(attribute) as object),
          snapshots: Object.fromEntries(names.map((each) => [each, diskIn(join(snapshots, each))])),
        },
      ];
    }),
  );
}

function diskIn(entry: string): Disk {
  return readDisk(join(entry, 'data/disk.raw'));
}
