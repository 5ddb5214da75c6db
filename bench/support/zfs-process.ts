import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createPool, openPool } from '../../src/index.ts';
import { time } from './measure.ts';

/** What bench/zfs.ts runs in the guest. Usage: zfs-process.ts FILE */

/** One ratio for each round. */
export interface ZfsSamples {
  readonly snapshot: readonly number[];
  readonly clone: readonly number[];
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

const numbers = Array.from({ length: batch }, (_, index) => index);
const samples: ZfsSamples = {
  snapshot: await ratios(
    (round) => `for i in ${numbers.join(' ')}; do zfs snapshot vmpool/disk@c${round}-$i; done`,
    (round, index) => pool.snapshot(`disk@l${round}-${index}`),
  ),
  clone: await ratios(
    (round) =>
      `for i in ${numbers.join(' ')}; do zfs clone vmpool/template@coppice:template vmpool/c${round}-$i; done`,
    (round, index) => pool.clone('template', `l${round}-${index}`),
  ),
  list: await listing(),
};
writeFileSync(process.argv[2] ?? '', JSON.stringify(samples));

/** Each round does both, in turns first: so often by the command, from one shell, and so often by the library. */
async function ratios(
  command: (round: number) => string,
  call: (round: number, index: number) => Promise<unknown>,
): Promise<number[]> {
  const found: number[] = [];
  for (let round = -1; round < rounds; round++) {
    const byCommand = () => time(() => execFileSync('sh', ['-ec', command(round)]));
    const byLibrary = () =>
      time(async () => {
        for (const index of numbers) await call(round, index);
      });
    const first = round % 2 === 0 ? await byCommand() : await byLibrary();
    const second = round % 2 === 0 ? await byLibrary() : await byCommand();
    // The first warms up.
    if (round >= 0) found.push(round % 2 === 0 ? first / second : second / first);
    execFileSync('udevadm', ['settle']);
  }
  return found;
}

async function listing(): Promise<number[]> {
  const present = (await pool.list()).length;
  await pool.cloneMany('template', 'many', volumes - present);
  execFileSync('udevadm', ['settle', '--timeout=600']);
  const found: number[] = [];
  for (let round = 0; round < 3; round++) {
    const bare = await time(() =>
      execFileSync('zfs', ['list', '-r', '-t', 'volume', 'vmpool'], { stdio: 'ignore' }),
    );
    found.push((await time(() => pool.usage())) / bare);
  }
  return found;
}
