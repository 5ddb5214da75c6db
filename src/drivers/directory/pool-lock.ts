import { closingOnFailure, type Descriptor, openDirectoryAt } from '../../linux/files.ts';
import { type LockMode, lock } from '../../linux/locks.ts';

/**
 * Locks a pool as a whole: by a directory in it that only its owner may open, so that nobody else can take the lock and keep it.
 * @param root the open root directory of the pool
 * @returns what has the lock; undefined when somebody else has it, and `wait` is false
 */
export function lockPool(root: number, mode: LockMode, wait: boolean): Descriptor | undefined {
  const guard = openDirectoryAt(root, '.staging');
  if (closingOnFailure(guard, () => lock(guard.fd, mode, wait))) return guard;
  guard[Symbol.dispose]();
  return undefined;
}

/** The same for who has nothing else to do meanwhile. */
export function waitForPoolLock(root: number): Descriptor {
  const guard = lockPool(root, 'exclusive', true);
  if (guard) return guard;
  throw new Error('A lock that is waited for was refused.');
}
