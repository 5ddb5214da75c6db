import { readdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { nowhere } from '../../../src/consistency/postgres/links.ts';

/** What somebody would do who takes plain snapshots of all the subvolumes of a cluster, and points the links of the copy to them. */
export function assemble(db: string): void {
  const point = (name: string, volume: string, path: string): void => {
    rmSync(join(db, 'pg', name));
    symlinkSync(nowhere(volume, path), join(db, 'pg', name));
  };
  point('pg_wal', 'wal', 'wal');
  for (const name of readdirSync(join(db, 'pg/pg_tblspc'))) point(join('pg_tblspc', name), 'space', 'far');
}
