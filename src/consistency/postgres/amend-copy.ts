import type { Descriptor } from '../../linux/files.ts';
import { flush } from '../../linux/files.ts';
import { openDirectory } from '../../linux/open-directory.ts';
import type { Subject } from '../quiescer.ts';
import { realDirectory, removeEntry, writeFile } from './amend.ts';
import { type DataDirectory, openDataDirectory, pathBelow } from './data-directory.ts';
import type { Place } from './layout.ts';
import { turnLinks } from './links.ts';
import { copyWal } from './wal.ts';

export interface Amendment {
  /** The data directory, from the volume. */
  readonly below: string;
  /** That of the live cluster. */
  readonly directory: DataDirectory;
  readonly places: readonly Place[];
  readonly subject: Subject;
  /** What a start from the copy needs that was not in the snapshot. */
  readonly wal:
    | { readonly names: readonly string[]; readonly bytes: number; readonly labelFile?: string }
    | undefined;
}

/** Makes a snapshot whole, from which a server can then be started alone: without whatever it left in other places. */
export async function amendCopy(
  copy: string,
  { below, directory, places, subject, wal }: Amendment,
  signal: AbortSignal,
): Promise<void> {
  using target = openDataDirectory(copy, below);
  const { fd } = target;
  const { owner } = directory;
  await turnLinks(fd, places, subject, below, owner);
  if (!wal) return flush(fd);
  using live = openDirectory(pathBelow(directory.fd, 'pg_wal'));
  using own = ownWal(fd, places, subject, target);
  using status = realDirectory(own.fd, 'archive_status', owner);
  flush(status.fd);
  await copyWal(live.fd, own.fd, wal.names, { owner, bytes: wal.bytes, signal });
  flush(own.fd);
  removeEntry(fd, 'tablespace_map'); // the links are right already
  if (wal.labelFile !== undefined) writeFile(fd, 'backup_label', wal.labelFile, owner);
  // It holds the number of the live server's process, which to stop the copy's server would end.
  for (const name of ['postmaster.pid', 'postmaster.opts']) removeEntry(fd, name);
  flush(fd);
}

/** That of the copy: a directory of its own, unless the link leads to one in the same volume. */
function ownWal(
  fd: number,
  places: readonly Place[],
  subject: Subject,
  { owner }: DataDirectory,
): Descriptor {
  const place = places.find(({ name }) => name === 'pg_wal');
  if (place?.within?.subject.volume === subject.volume) return openDirectory(pathBelow(fd, 'pg_wal'));
  return realDirectory(fd, 'pg_wal', owner);
}
