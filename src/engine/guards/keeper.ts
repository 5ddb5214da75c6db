import { readFileSync } from 'node:fs';
import { readProcess } from '../../linux/processes.ts';
import type { Keeper } from '../../model/metadata.ts';

/** This process, as others will know it. */
export function thisKeeper(): Keeper {
  return { pid: process.pid, started: readProcess(process.pid)?.started ?? '', boot: bootId() };
}

/** Whether who keeps something is still there to see to it. */
export function isAlive({ pid, started, boot }: Keeper): boolean {
  return boot === bootId() && readProcess(pid)?.started === started;
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}
