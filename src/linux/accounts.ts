import { CoppiceError } from '../model/errors.ts';
import { runProgram } from './programs.ts';

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/**
 * The numbers of `USER[:GROUP]`, each a name that this host knows, from wherever it has them, or a number. Without a group it is the
 * user's own.
 * @throws CoppiceError invalid_argument
 */
export function accountOf(owner: string): Account {
  const [user = '', group, ...rest] = owner.split(':');
  if (user === '' || group === '' || rest.length > 0)
    throw new CoppiceError('invalid_argument', `"${owner}" is no owner: write USER or USER:GROUP.`);
  const uid = numberIn('passwd', user, 2);
  if (group !== undefined) return { uid, gid: numberIn('group', group, 2) };
  return { uid, gid: numberIn('passwd', user, 3) };
}

function numberIn(database: 'passwd' | 'group', name: string, field: number): number {
  const known = entryOf(database, name)?.split(':')[field];
  const number = Number(known ?? (field === 2 ? name : Number.NaN));
  const invalid = 0xffff_ffff;
  if (/^\d+$/.test(known ?? name) && number < invalid) return number;
  throw new CoppiceError(
    'invalid_argument',
    field === 2
      ? `There is no ${database === 'passwd' ? 'user' : 'group'} ${name} on this host.`
      : `The user ${name} has no group on this host; write USER:GROUP.`,
  );
}

function entryOf(database: string, name: string): string | undefined {
  try {
    return runProgram('getent', [database, '--', name]).split('\n', 1)[0] || undefined;
  } catch (error) {
    if (error instanceof CoppiceError && error.code === 'io_error') return undefined; // exit code 2: not known
    throw error;
  }
}
