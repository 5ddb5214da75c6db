import { fileSystemSpace } from '../linux/space.ts';
import type { Backend, BackendName } from './backend.ts';
import { btrfs } from './btrfs/index.ts';
import { xfs } from './xfs/index.ts';

/** All that there are. The first is what a new pool gets when nobody asks for another. */
export const backends: readonly [Backend, ...Backend[]] = [btrfs, xfs];

export function backendNamed(name: string): Backend | undefined {
  return backends.find((backend) => backend.name === name);
}

/** The backend for the file system that a descriptor lies on. */
export function backendAt(fd: number): Backend | undefined {
  const { type } = fileSystemSpace(fd);
  return backends.find((backend) => backend.magic === type);
}

/** Their names, as a sentence lists them. */
export function backendNames(): string {
  const names: BackendName[] = backends.map((backend) => backend.name);
  return names.join(' or ');
}
