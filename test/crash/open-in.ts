import { readdirSync, readlinkSync } from 'node:fs';

/** What this process has open in a directory: what stays open there stays locked. */
export function openIn(directory: string): string[] {
  return readdirSync('/proc/self/fd')
    .flatMap((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        return []; // that of the listing itself
      }
    })
    .filter((path) => path.startsWith(directory))
    .sort();
}
