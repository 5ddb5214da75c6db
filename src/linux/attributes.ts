import { Buffer } from 'node:buffer';
import { attempt, call, unlessAbsent } from './system-calls.ts';

/** Extended attributes. 8,000 bytes fit on btrfs; a larger value is ENOSPC there. */
export const largestAttribute = 8000;

const buffer = Buffer.alloc(largestAttribute);

/** An attribute of an open file or directory, or undefined when it has none that can be read. */
export function readAttribute(fd: number, name: string): Buffer | undefined {
  return copied(unlessAbsent(attempt('fgetxattr', name, fd, name, buffer, buffer.length), 'fgetxattr', name));
}

/** The same by path, in one call: a listing reads 20,000 of them. A final symbolic link is not followed. */
export function readAttributeByPath(path: string, name: string): Buffer | undefined {
  return copied(
    unlessAbsent(attempt('lgetxattr', path, path, name, buffer, buffer.length), 'lgetxattr', path),
  );
}

export function writeAttribute(fd: number, name: string, value: string): void {
  call('fsetxattr', name, fd, name, value, Buffer.byteLength(value), 0);
}

/** The same by path, for what need not be opened otherwise. A final symbolic link is not followed. */
export function writeAttributeByPath(path: string, name: string, value: string): void {
  call('lsetxattr', name, path, name, value, Buffer.byteLength(value), 0);
}

export function removeAttribute(fd: number, name: string): void {
  call('fremovexattr', name, fd, name);
}

/**
 * All attributes that may be read, each with its name and value as one text (latin1), sorted. A final symbolic link is not followed.
 * @param path ends with a zero byte: the names of files need not be UTF-8
 */
export function listAttributesByPath(path: Buffer): string[] {
  const largestList = 65_536;
  const list = Buffer.alloc(largestList);
  const length = unlessAbsent(
    attempt('llistxattr', 'attributes', path, list, list.length),
    'llistxattr',
    'attributes',
  );
  const names = length ? list.toString('latin1', 0, length - 1).split('\0') : [];
  const value = Buffer.alloc(largestList);
  return names
    .map((name) => {
      const key = Buffer.from(`${name}\0`, 'latin1');
      const bytes = unlessAbsent(
        attempt('lgetxattr', name, path, key, value, value.length),
        'lgetxattr',
        name,
      );
      return `${name.length} ${name}${value.toString('latin1', 0, bytes ?? 0)}`;
    })
    .sort();
}

function copied(length: number | undefined): Buffer | undefined {
  return length === undefined ? undefined : Buffer.from(buffer.subarray(0, length));
}
