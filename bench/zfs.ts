import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Guest } from '../test/guest/guest.ts';
import { guestImage } from '../test/guest/image.ts';
import { prepare } from '../test/guest/run-tests.ts';
import { sparseFile } from '../test/support/devices.ts';
import { type Measured, measured } from './support/measure.ts';
import type { ZfsSamples } from './support/zfs-process.ts';

/**
 * The library on a pool of ZFS against the `zfs` command, in a guest. Where that is emulated all of it is slow, and only ratios say
 * something: both sides of each are taken one right after the other.
 */
export async function zfs(): Promise<Measured[]> {
  const { image, unless } = await guestImage();
  if (!image) throw new Error(`This needs a guest${unless}.`);
  const checkout = process.cwd();
  const script = `${prepare(checkout)}node bench/support/zfs-process.ts /guest/samples`;
  const disks = [sparseFile(8 * 2 ** 30)];
  await using guest = new Guest({ image, script, disks, checkout, timeout: 20 * 60_000 });
  const { status, output, console } = await guest.ended();
  if (status !== 0) throw new Error(`the measure failed in the guest: ${output} ${console}`);
  const samples = JSON.parse(readFileSync(join(guest.directory, 'samples'), 'utf8')) as ZfsSamples;
  return [
    measured('zfs, snapshot', 'times as fast as the command', samples.snapshot, { atLeast: 3 }),
    measured('zfs, snapshots in a row', 'times as fast as the command', samples.snapshotsInARow),
    measured('zfs, clone', 'times as fast as the command', samples.clone, { atLeast: 2 }),
    measured('zfs, clones in a row', 'times as fast as the command', samples.clonesInARow),
    measured('zfs, usage of 500', 'times one bare zfs list', samples.list, { atMost: 1.3 }),
  ];
}
