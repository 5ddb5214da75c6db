import { fchmodSync, fchownSync } from 'node:fs';
import type { User } from '../../linux/connect-as.ts';
import { makeDirectoryAt, openDirectoryAt } from '../../linux/files.ts';
import { openDirectory } from '../../linux/open-directory.ts';

/**
 * A new directory for the socket of a copy's server, which only the owner of the cluster may enter. Where it is made may be his, so
 * nothing is done by a path that he could make lead elsewhere.
 */
export function makeSocketDirectory(parent: string, name: string, { uid, gid }: User): void {
  using above = openDirectory(parent);
  makeDirectoryAt(above.fd, name, 0o700);
  using directory = openDirectoryAt(above.fd, name);
  fchownSync(directory.fd, uid, gid);
  fchmodSync(directory.fd, 0o700);
}
