import { readFileSync, readlinkSync } from 'node:fs';
import { readProcess } from '../linux/processes.ts';
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
  return readProcess(pid)?.started === started;
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

function pidNamespace(): string {
  return readlinkSync('/proc/self/ns/pid');
}
