import { readFileSync, readlinkSync } from 'node:fs';
import { isEnded, readProcess } from '../linux/processes.ts';
import type { Keeper } from '../model/metadata.ts';

/** This process, as others will know it. */
export function thisKeeper(): Keeper {
  return {
    pid: process.pid,
    started: readProcess(process.pid)?.started ?? '',
    boot: bootId(),
    namespace: pidNamespace(),
  };
}

/** Whether who keeps something is still there to see to it. Of one in another container nobody here can know that he is not. */
export function isAlive({ pid, started, boot, namespace }: Keeper): boolean {
  if (boot !== bootId()) return false;
  if (namespace !== undefined && namespace !== pidNamespace()) return true;
  const keeper = readProcess(pid);
  // One that has ended stays in the list until its parent, or who has taken that one's place, has been told.
  return keeper?.started === started && !isEnded(keeper);
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

function pidNamespace(): string {
  return readlinkSync('/proc/self/ns/pid');
}
