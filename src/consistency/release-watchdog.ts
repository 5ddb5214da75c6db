import { inheritedCgroupFreezer } from '../linux/cgroup-freezer.ts';
import { type ProcessIdentity, signalProcess } from '../linux/processes.ts';
import type { Frozen } from './releaser.ts';

/**
 * A process of its own that thaws what another one has frozen: when the time is over, or when that one has died, by whatever. It is told
 * before anything is frozen, in lines of JSON. It exits with 0 when all goes on, or when it is told that all does already.
 * Usage: release-watchdog, with a standard input that ends when the other dies, and as descriptor 3 the lock that both have, as 4 the
 * cgroup, if any
 */

const told: { cgroup: boolean; processes: ProcessIdentity[] } = { cgroup: false, processes: [] };
let text = '';

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, release);
process.stdin.on('data', (chunk) => {
  const lines = (text + chunk).split('\n');
  text = lines.pop() ?? '';
  for (const line of lines) hear(JSON.parse(line) as Frozen);
});
process.stdin.on('error', release);
process.stdin.on('close', release);
process.stdout.on('error', () => undefined);
process.stdout.write('ready\n');

function hear({ milliseconds, cgroup, processes, done }: Frozen): void {
  if (done) process.exit(0);
  if (milliseconds !== undefined) setTimeout(release, milliseconds);
  if (cgroup) told.cgroup = true;
  told.processes.push(...(processes ?? []));
}

function release(): void {
  let code = 0;
  const attempt = (step: () => unknown): void => {
    try {
      step();
    } catch {
      code = 1; // one that can't be thawed is no reason to leave the others
    }
  };
  if (told.cgroup) attempt(() => inheritedCgroupFreezer(4).thaw());
  for (const each of told.processes.toReversed()) attempt(() => signalProcess(each, 'SIGCONT'));
  process.exit(code);
}
