import { lastLine, streamProgram } from '../../linux/programs.ts';

const prefix = 'zfs:';

/**
 * Waits until it is known whether a pool can be looked at. Of a zpool that has lost its devices the answer may never come: then it is this
 * that hangs, in a process of its own, and not the thread that has to answer everybody.
 * @throws Error when it can't
 */
export async function requireReachable(path: string, signal: AbortSignal): Promise<void> {
  if (!path.startsWith(prefix)) return;
  const dataset = path.slice(prefix.length);
  const args = ['list', '-H', '-o', 'name', '--', dataset];
  const { code, errors } = await streamProgram('zfs', args, { signal });
  if (code !== 0) throw new Error(`${path} can't be reached: ${lastLine(errors)}.`);
}
