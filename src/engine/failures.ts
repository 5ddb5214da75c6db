import { standsInTheWay } from '../linux/files.ts';
import { hasErrno } from '../linux/system-calls.ts';
import { badDisk, CoppiceError } from '../model/errors.ts';

/**
 * Turns what the kernel said into a typed error in one sentence. An error that is already ours passes through.
 * @param action what was attempted, in a form that follows "could not": `clone debian to vm-1`
 */
export function explainFailure(action: string, error: unknown): unknown {
  if (error instanceof CoppiceError || !(error instanceof Error)) return error;
  const fail = (code: ConstructorParameters<typeof CoppiceError>[0], why: string): CoppiceError =>
    new CoppiceError(code, `Could not ${action}: ${why}`, { cause: error });
  if (hasErrno(error, 'ENOSPC', 'EDQUOT')) {
    return fail(
      'no_space',
      'the pool is full; remove volumes or snapshots, or make it larger with "coppice pool grow SIZE".',
    );
  }
  if (hasErrno(error, 'EROFS')) {
    return fail(
      'io_error',
      'the pool has become read-only, as a file system does after a write error; look at "dmesg" and at the free space of the host, then mount it again.',
    );
  }
  if (hasErrno(error, 'EACCES', 'EPERM'))
    return fail('permission_denied', `${error.message}; run it as root.`);
  if (hasErrno(error, 'ETXTBSY'))
    return fail('blocked', 'a swap file in it is active; turn it off with swapoff.');
  if (hasErrno(error, 'EXDEV', 'ELOOP') || standsInTheWay(error)) {
    return fail(
      'damaged',
      `${error.message}: a link, a mount or something else stands inside the pool where data should be; remove it.`,
    );
  }
  if (hasErrno(error, 'EMFILE', 'ENFILE')) {
    return fail(
      'io_error',
      'too many files would be open at the same time; name fewer volumes at once, or raise the limit with "ulimit -n".',
    );
  }
  if (hasErrno(error, 'ERR_INVALID_ARG_VALUE')) return fail('invalid_argument', `${error.message}.`);
  if (hasErrno(error, 'EIO', 'EUCLEAN')) return badDisk(`Could not ${action}: ${error.message}`, error);
  if ('code' in error && 'syscall' in error) return fail('io_error', `${error.message}.`);
  return error;
}

export function busy(what: string): CoppiceError {
  return new CoppiceError('busy', `${what} is in use by another operation; try again when that has ended.`);
}

/** Runs a step and explains its failure. */
export function explaining<T>(action: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    throw explainFailure(action, error);
  }
}
