import { chmodSync, chownSync, mkdirSync } from 'node:fs';
import type { User } from '../../linux/connect-as.ts';

/** A new directory for the socket of a copy's server, which only the owner of the cluster may enter. */
export function makeSocketDirectory(path: string, { uid, gid }: User): void {
  mkdirSync(path, { mode: 0o700 });
  chownSync(path, uid, gid);
  chmodSync(path, 0o700);
}
