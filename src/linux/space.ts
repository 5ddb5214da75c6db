import { call } from './system-calls.ts';

export interface FileSystemSpace {
  /** The magic number of the file system's type, as in statfs(2). */
  readonly type: number;
  readonly totalBytes: number;
  /** What an unprivileged writer may still take. */
  readonly freeBytes: number;
}

/** The fields of struct statfs, each as long as a machine word. */
const fields = new BigUint64Array(15);

/** The space of the file system that a descriptor lies on. */
export function fileSystemSpace(fd: number): FileSystemSpace {
  call('fstatfs', 'file system', fd, fields);
  const blockBytes = Number(fields[1]);
  return {
    type: Number(fields[0]),
    totalBytes: Number(fields[2]) * blockBytes,
    freeBytes: Number(fields[4]) * blockBytes,
  };
}
