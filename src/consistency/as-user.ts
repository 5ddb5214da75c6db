import { call } from '../linux/system-calls.ts';
import { CoppiceError } from '../model/errors.ts';
import { type Script, startScript } from './script.ts';

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Starts one of our scripts, which becomes another user by `becomeUser` before it touches anything that is his: what he has prepared for
 * root, such as a link in his directory, he could then as well have done himself.
 * @param descriptors the script gets these as 3, 4, and so on
 * @throws CoppiceError permission_denied
 */
export function startAsUser(
  name: string,
  { uid, gid }: Owner,
  args: readonly string[],
  descriptors: readonly number[],
): Script {
  const own = process.geteuid?.();
  if (own !== 0 && own !== uid) {
    throw new CoppiceError(
      'permission_denied',
      `Only root can act as the user with the number ${uid}; run it as root or as that user.`,
    );
  }
  return startScript(name, [String(uid), String(gid), ...args], [...descriptors]);
}

/**
 * The other half, in the script: from here on the process is that user, with no other group than the given one, and can't go back.
 * What it needs of ours has to be loaded by then.
 * @param directory that it works in. Where root has started it, it sees nothing else: he may not be allowed to go the way there,
 * as where his program runs in a container, and has no business elsewhere
 * @returns the other arguments
 */
export function becomeUser(directory: number): string[] {
  const [uid, gid, ...others] = process.argv.slice(2);
  process.chdir(`/proc/self/fd/${directory}`);
  if (process.geteuid?.() === 0) {
    call('chroot', 'its directory', '.');
    process.setgroups?.([]);
    process.setgid?.(Number(gid));
    process.setuid?.(Number(uid));
  }
  if (process.geteuid?.() !== Number(uid) || process.getuid?.() !== Number(uid))
    throw new Error(`this is not the user ${uid}`);
  return others;
}
