import { isSame } from '../../linux/same-file.ts';
import { CoppiceError } from '../../model/errors.ts';
import { runZfs } from './command.ts';

/**
 * Whether a device or file is part of a zpool. ZFS names the disk where it was given all of it, though it uses a partition that it
 * has made there.
 * @throws CoppiceError io_error where that can't be told, because devices of the pool are missing
 */
export function liesOnDevice(zpool: string, device: string): boolean {
  const lines = runZfs('zpool', ['list', '-vHL', '-o', 'name', zpool]).split('\n');
  const parts = lines.map((line) => line.trim().split('\t', 1)[0] ?? '');
  if (parts.some((part) => isSame(part.startsWith('/') ? part : `/dev/${part}`, device))) return true;
  // What was not there at the import has only its guid.
  if (!parts.some((part) => /^\d+$/.test(part))) return false;
  throw new CoppiceError(
    'io_error',
    `Some devices of the ZFS pool ${zpool} are missing, and ${device} may be one of them; look at "zpool status ${zpool}".`,
  );
}
