import { join } from 'node:path';
import {
  closingOnFailure,
  type Descriptor,
  makeDirectoryAt,
  openDirectoryAt,
  removeDirectoryAt,
  removeFileAt,
} from '../../linux/files.ts';
import { lock } from '../../linux/locks.ts';
import { randomId } from '../../linux/random.ts';
import { removeAtOurEnd } from '../../linux/remove-at-end.ts';
import { hasErrno } from '../../linux/system-calls.ts';

export const probePrefix = '.coppice-doctor-';

/** A directory to try things in, with the only names that may be made in it. */
export interface ProbeDirectory extends AsyncDisposable {
  readonly fd: number;
  readonly names: readonly [first: string, second: string, third: string];
}

/**
 * Makes a directory that goes again with all that was made in it, also when this process is killed: another one waits for its end
 * and then removes these names, and nothing else. They are random, so nobody can have put anything of value under them.
 */
export async function makeProbeDirectory(parent: {
  readonly path: string;
  readonly fd: number;
}): Promise<ProbeDirectory> {
  const id = randomId();
  const name = `${probePrefix}${id}`;
  const names = [`first-${id}`, `second-${id}`, `third-${id}`] as const;
  const inside = names.map((each) => join(parent.path, name, each));
  const remover = await removeAtOurEnd([...inside, join(parent.path, name)]);
  let opened: Descriptor;
  try {
    makeDirectoryAt(parent.fd, name);
    opened = openLocked(parent.fd, name);
  } catch (error) {
    await remover.finish();
    throw error;
  }
  return {
    fd: opened.fd,
    names,
    async [Symbol.asyncDispose]() {
      try {
        using directory = opened;
        for (const each of names) removeIfAny(directory.fd, each);
        removeDirectoryAt(parent.fd, name);
      } finally {
        await remover.finish();
      }
    },
  };
}

/** The lock tells it from one that was left. */
function openLocked(parent: number, name: string): Descriptor {
  const opened = openDirectoryAt(parent, name);
  closingOnFailure(opened, () => lock(opened.fd, 'exclusive', false));
  return opened;
}

/** A file, an empty directory, or an empty subvolume, which its owner may remove like a directory. */
function removeIfAny(directory: number, name: string): void {
  try {
    removeFileAt(directory, name);
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return;
    if (!hasErrno(error, 'EISDIR', 'EPERM')) throw error;
    removeDirectoryAt(directory, name);
  }
}
