import { readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { dirname } from 'node:path';
import { hasErrno } from './system-calls.ts';

export interface Mount {
  /** The numbers of it, and of the mount that it is on. */
  readonly id: number;
  readonly parent: number;
  /** The group of mounts that have what is mounted on this happen to them, too; and the group that this follows. */
  readonly sharedIn: string | undefined;
  readonly follows: string | undefined;
  readonly mountPoint: string;
  /** The path inside the file system that is mounted there. */
  readonly root: string;
  /** The same for all mounts of one file system, wherever they are. */
  readonly fileSystem: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

/** All mounts that this process sees, in the order in which they were made. */
export function readMounts(): Mount[] {
  return parseMounts(readFileSync('/proc/self/mountinfo', 'utf8'));
}

export interface NamespacedMount extends Mount {
  /** A process that sees it, where this one does not. */
  readonly namespace: number | undefined;
}

/** The same for all mount namespaces that a process is in. `complete` is false where some can't be looked into, as without root. */
export function mountsOfAllNamespaces(): { readonly mounts: NamespacedMount[]; readonly complete: boolean } {
  const mounts: NamespacedMount[] = readMounts().map((mount) => ({ ...mount, namespace: undefined }));
  const seen = new Set([readlinkSync('/proc/self/ns/mnt')]);
  let complete = true;
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      const namespace = readlinkSync(`/proc/${pid}/ns/mnt`);
      if (seen.has(namespace)) continue;
      const theirs = parseMounts(readFileSync(`/proc/${pid}/mountinfo`, 'utf8'));
      seen.add(namespace);
      mounts.push(...theirs.map((mount) => ({ ...mount, namespace: Number(pid) })));
    } catch (error) {
      if (hasErrno(error, 'EACCES', 'EPERM')) complete = false;
      else if (!hasErrno(error, 'ENOENT', 'ESRCH', 'EINVAL')) throw error; // it has ended meanwhile
    }
  }
  return { mounts, complete };
}

function parseMounts(text: string): Mount[] {
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const [before = '', after = ''] = line.split(' - ');
      const fields = before.split(' ');
      const [type = '', source = '', superOptions = ''] = after.split(' ');
      const optional = (name: string): string | undefined =>
        fields
          .slice(6)
          .find((field) => field.startsWith(`${name}:`))
          ?.slice(name.length + 1);
      return {
        id: Number(fields[0]),
        parent: Number(fields[1]),
        sharedIn: optional('shared'),
        follows: optional('master'),
        fileSystem: fields[2] ?? '',
        root: unescapeField(fields[3] ?? ''),
        mountPoint: unescapeField(fields[4] ?? ''),
        options: [...(fields[5] ?? '').split(','), ...superOptions.split(',')],
        type,
        source: unescapeField(source),
      };
    });
}

/** The mount that a path lies on: the last one made at the longest mount point above it. */
export function mountOf(path: string): Mount | undefined {
  const real = realpathSync(path);
  let best: Mount | undefined;
  for (const mount of readMounts()) {
    const within =
      real === mount.mountPoint || real.startsWith(mount.mountPoint === '/' ? '/' : `${mount.mountPoint}/`);
    if (within && (!best || mount.mountPoint.length >= best.mountPoint.length)) best = mount;
  }
  return best;
}

/** The file behind a loop device, or undefined when the device is none or not attached. */
export function loopBackingFile(device: string): string | undefined {
  const name = /^\/dev\/(loop\d+)$/.exec(device)?.[1];
  if (!name) return undefined;
  try {
    return readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').trimEnd();
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** The directory of a backing file, as an existing path; undefined when the file was moved out of sight. */
export function backingDirectory(file: string): string | undefined {
  try {
    return realpathSync(dirname(file));
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES')) return undefined;
    throw error;
  }
}

function unescapeField(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
