import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import {
  isEnded,
  type ProcessIdentity,
  readProcess,
  readProcesses,
  signalProcess,
} from '../../linux/processes.ts';
import { hasErrno } from '../../linux/system-calls.ts';

/** By this variable a program knows that it is run in a guard, and is known to be: it hands it on to all that it starts. */
export const guardVariable = 'COPPICE_GUARD';

/** The guards that a program is run in, by their ids: those of its environment, the innermost last. */
export function guardsInEnvironment(environment: NodeJS.ProcessEnv): readonly string[] {
  return (environment[guardVariable] ?? '').split(' ').filter(Boolean);
}

/** Milliseconds that processes have to end by themselves, and then by force; and between two looks. */
const [grace, patience, between] = [10_000, 5_000, 50];

/**
 * Ends all that a guard has started and that has not ended: what is undone must not be changed by it any more. Returns when it has.
 * @param head the process that was started, if it is still known
 */
export async function endFamily(id: string, head?: ProcessIdentity): Promise<void> {
  const family = new Map<string, ProcessIdentity>();
  const add = (): ProcessIdentity[] => {
    for (const each of familyOf(id, head)) family.set(`${each.pid} ${each.started}`, each);
    return [...family.values()].filter(isThere);
  };
  const began = performance.now();
  let told: NodeJS.Signals | undefined;
  for (let left = add(); left.length > 0; left = add()) {
    const waited = performance.now() - began;
    const signal = waited < grace ? 'SIGTERM' : 'SIGKILL';
    if (waited > grace + patience) return; // one that can't be killed has something open, or does nothing
    for (const each of left) if (signal !== told || signal === 'SIGKILL') tell(each, signal);
    told = signal;
    await pause(between);
  }
}

function familyOf(id: string, head: ProcessIdentity | undefined): ProcessIdentity[] {
  const all = readProcesses().filter((each) => each.pid !== process.pid && !isEnded(each));
  const family = all.filter(
    (each) => (each.pid === head?.pid && each.started === head.started) || isMarked(each.pid, id),
  );
  for (let index = 0; index < family.length; index++)
    for (const each of all)
      if (each.parent === family[index]?.pid && !family.includes(each)) family.push(each);
  return family;
}

function isMarked(pid: number, id: string): boolean {
  try {
    const variables = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
    const found = variables.find((each) => each.startsWith(`${guardVariable}=`));
    return (
      found
        ?.slice(guardVariable.length + 1)
        .split(' ')
        .includes(id) ?? false
    );
  } catch (error) {
    if (hasErrno(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM')) return false;
    throw error;
  }
}

function isThere({ pid, started }: ProcessIdentity): boolean {
  const found = readProcess(pid);
  return found?.started === started && !isEnded(found);
}

function tell(process: ProcessIdentity, signal: NodeJS.Signals): void {
  try {
    signalProcess(process, signal);
  } catch (error) {
    if (!hasErrno(error, 'EPERM')) throw error;
  }
}
