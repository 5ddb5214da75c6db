import { call } from './libc.ts';

export interface FileSystemSpace {
  /** The magic number of the file system's type, as in statfs(2). */
  readonly type: number;
  readonly totalBytes: number;
  /** What an unprivileged writer may still take. */
  readonly freeBytes: number;
}

const buffer = Buffer.alloc(120);

/** The space of the file system that a descriptor lies on. */
export function fileSystemSpace(fd: number): FileSystemSpace {
  call('fstatfs', 'file system', fd, buffer);
  const blockBytes = Number(buffer.readBigInt64LE(8));
  return {
    type: Number(buffer.readBigInt64LE(0)),
    totalBytes: Number(buffer.readBigUInt64LE(16)) * blockBytes,
    freeBytes: Number(buffer.readBigUInt64LE(32)) * blockBytes,
  };
}
