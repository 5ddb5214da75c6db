import { readFileSync } from 'node:fs';
import { openTrusted } from '../linux/trusted-path.ts';
import { CoppiceError } from '../model/errors.ts';

const mostBytes = 65_536;

/**
 * Reads a file with a secret, which nobody but root and us may read or have put there.
 * @param what names it in a sentence: `the file with the password`
 * @throws CoppiceError
 */
export function readPrivateFile(path: string, what: string): string {
  using file = openTrusted(path, what);
  const { mode, uid, size } = file.status;
  const isOurs = uid === 0n || uid === BigInt(process.geteuid?.() ?? 0);
  const why = !file.status.isFile()
    ? 'it is not a file'
    : !isOurs || (mode & 0o077n) !== 0n
      ? 'others could read it; make it private with "chmod 600", and yours'
      : size > mostBytes
        ? 'it is too long'
        : undefined;
  if (why === undefined) return readFileSync(file.path, 'utf8');
  throw new CoppiceError('invalid_argument', `Refused to use ${path}, ${what}: ${why}.`);
}
