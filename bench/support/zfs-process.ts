import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { createPool, openPool } from '../../src/index.ts';
import { compare, time } from './measure.ts';

/** What bench/zfs.ts runs in the guest. Usage: zfs-process.ts FILE */

/** One ratio for each round. */
export interface ZfsSamples {
  /** Each call by itself, when nothing of the one before is still being written. */
  readonly snapshot: readonly number[];
  readonly clone: readonly number[];
  /** Several, one right after the other. */
  readonly snapshotsInARow: readonly number[];
  readonly clonesInARow: readonly number[];
  readonly list: readonly number[];
}

const rounds = 9;
const batch = 5;
const volumes = 500;

createPool({ driver: 'zfs', device: '/dev/vdb', force: true });
await using pool = await openPool('zfs:vmpool', { inline: true });
await pool.create('disk', { bytes: 2 ** 30 });
await pool.create('source', { bytes: 2 ** 30 });
await pool.seal('source', 'template');

// One shell for all commands, as a person has one: to start it would count, too.
const shell = spawn('sh', [], { stdio: ['pipe', 'pipe', 'inherit'] });
const answers = createInterface({ input: shell.stdout });
let count = 0;

const snapshots = {
  command: (names: readonly string[]) => names.map((name) => `zfs snapshot vmpool/disk@${name}`),
  call: (name: string) => pool.snapshot(`disk@${name}`),
};
const clones = {
  command: (names: readonly string[]) =>
    names.map((name) => `zfs clone vmpool/template@coppice:template vmpool/${name}`),
  call: (name: string) => pool.clone('template', name),
};
const single = {
  snapshot: await ratios(snapshots, 3 * rounds, 1),
  snapshotsInARow: await ratios(snapshots, rounds, batch),
  clone: await ratios(clones, 3 * rounds, 1),
  clonesInARow: await ratios(clones, rounds, batch),
};
shell.kill();

await pool.remove('disk', { withSnapshots: true });
await pool.cloneMany('template', 'many', volumes - (await pool.list()).length);
execFileSync('udevadm', ['settle', '--timeout=600']);
const samples: ZfsSamples = { ...single, list: await listing() };
writeFileSync(process.argv[2] ?? '', JSON.stringify(samples));

/** How many times as fast the calls are as the commands. */
async function ratios(
  way: {
    readonly command: (names: readonly string[]) => readonly string[];
    readonly call: (name: string) => Promise<unknown>;
  },
  wanted: number,
  size: number,
): Promise<number[]> {
  const names = (): string[] => Array.from({ length: size }, () => `n${++count}`);
  const byCommand = (): Promise<number> => timed(() => type([...way.command(names()), 'echo done']));
  const byLibrary = (): Promise<number> =>
    timed(async () => {
      for (const name of names()) await way.call(name);
    });
  // As in a daemon that has run for a while.
  for (let warm = 0; warm < 50; warm++) await way.call(`n${++count}`);
  const found = await compare(wanted, byCommand, byLibrary);
  return found.map(({ a, b }) => a / b);
}

async function timed(run: () => Promise<unknown>): Promise<number> {
  execFileSync('udevadm', ['settle']);
  execFileSync('zpool', ['sync']);
  return time(run);
}

async function type(lines: readonly string[]): Promise<void> {
  const answer = once(answers, 'line');
  shell.stdin.write(`${lines.join(' && ')}\n`);
  await answer;
}

/** All volumes and what they take, against one bare list of them. */
async function listing(): Promise<number[]> {
  const bare = (): Promise<number> =>
    time(() => execFileSync('zfs', ['list', '-r', '-t', 'volume', 'vmpool'], { stdio: 'ignore' }));
  const usage = (): Promise<number> => time(() => pool.usage());
  const found = await compare(7, bare, usage);
  return found.map(({ a, b }) => b / a);
}
