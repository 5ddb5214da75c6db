import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { sparseFile } from '../support/devices.ts';
import { randomNumbers } from '../support/random-operations.ts';
import { bundleForGuest, programs, unpack } from './bundle.ts';
import { Guest } from './guest.ts';
import { guestImage } from './image.ts';
import { prepare } from './run-tests.ts';

const { image, unless } = await guestImage();
const rounds = process.env['COPPICE_LONG'] === '1' ? 20 : 1;
const pool = 'zfs:testing/cut';
const minutes = 60_000;

/** Imports the pool as the next boot of a host would, and judges it by what was said before the cut. */
const judge = `
zpool import -f -d /dev testing || {
  zpool create -O volmode=dev -O canmount=off testing /dev/vdb
  zfs create -o canmount=off testing/cut
  node dist/cli.js pool create ${pool} --existing
}
node ${programs}/judge.js ${pool} /guest`;

test.skipIf(!image)(
  `a guest that is cut off in the middle of operations holds what was acknowledged, ${rounds} times${unless}`,
  async () => {
    if (!image) return;
    const seed = Number(process.env['COPPICE_SEED'] ?? Date.now() % 100_000);
    const random = randomNumbers(seed);
    const checkout = process.cwd();
    const disks = [sparseFile(4 * 2 ** 30)];
    let last: string | undefined;
    const bundled = await bundleForGuest({
      'actor.js': 'test/support/actor-process.ts',
      'judge.js': 'test/guest/judge-process.ts',
    });
    for (let round = 0; round <= rounds; round++) {
      const isLast = round === rounds;
      const request = {
        pool,
        scratch: '/tmp',
        inline: true,
        lanes: [{ seed: seed + round, from: 0, to: 10_000 }],
      };
      const work = `node ${programs}/actor.js '${JSON.stringify(request)}' > /guest/next`;
      const script = `${prepare(checkout)}${unpack(checkout)}${judge}${isLast ? ' clear' : ''}\n${isLast ? 'zpool export testing' : work}`;
      await using guest = new Guest({
        image,
        script,
        disks,
        checkout,
        timeout: 6 * minutes,
        files: { ...bundled, ...filesOf(last) },
      });
      if (!isLast) {
        const operations = 3 + Math.floor(random() * 25);
        await lines(join(guest.directory, 'next'), 2 * operations - Math.round(random()), guest);
        // Anywhere within an operation, whose steps take some 50 ms each.
        await new Promise((resolve) => setTimeout(resolve, random() * 400));
        await guest.cut();
      }
      const { status, output, console } = await guest.ended();
      const verdict = read(guest.directory, 'verdict');
      expect(
        verdict ?? `no verdict: ${output.slice(-2000)} ${console.slice(-2000)}`,
        `seed ${seed}, round ${round}`,
      ).toBe('');
      if (isLast) expect(status, output).toBe(0);
      last = guest.directory;
    }
  },
  rounds * 7 * minutes,
);

/** What the next round judges by: the state before, and what was said after that. */
function filesOf(directory: string | undefined): Record<string, string> {
  if (directory === undefined) return {};
  return { before: read(directory, 'state') ?? '', history: read(directory, 'next') ?? '' };
}

function read(directory: string, name: string): string | undefined {
  const file = join(directory, name);
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
}

/** Waits until a file has so many lines, or the guest has ended. */
async function lines(file: string, wanted: number, guest: Guest): Promise<void> {
  let ended = false;
  void guest.ended().then(() => {
    ended = true;
  });
  while (!ended && (existsSync(file) ? readFileSync(file, 'utf8') : '').split('\n').length - 1 < wanted)
    await new Promise((resolve) => setTimeout(resolve, 20));
}
