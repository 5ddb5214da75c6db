import { findDeviceHolders } from '../../linux/holders.ts';
import { readMounts } from '../../linux/mounts.ts';
import { openAmong } from '../../linux/zfs-core.ts';
import { deviceOf, numberOf, partsOf, sleep, stackedOn, zvolLink } from '../../linux/zvol.ts';
import type { Holders } from '../driver.ts';
import type { HeldDataset } from './held.ts';
import type { Places } from './places.ts';
import { mountsIn, usersOf } from './trees.ts';

/**
 * Who has these zvols open, or a partition of one: processes by their descriptors, and what stands on them in the kernel. ZFS itself
 * would roll back and destroy snapshots under whoever reads them.
 */
export function holdersOf(places: Places, held: readonly HeldDataset[]): Holders {
  const { disks, trees } = byKind(places, held);
  const { holders, complete } = holdersOfDatasets(disks);
  return { holders: [...holders, ...trees.flatMap(usersOf)], complete };
}

function byKind(
  places: Places,
  held: readonly HeldDataset[],
): { readonly disks: readonly string[]; readonly trees: readonly string[] } {
  const of = (isTree: boolean): string[] =>
    held.flatMap((each) => ((places.kindOf(each) === 'tree') === isTree ? (each.dataset ?? []) : []));
  return { disks: of(false), trees: of(true) };
}

/** Whether anybody but udev has one of these open, or something stands on it. */
export function isHeld(datasets: readonly string[]): boolean {
  const { holders, complete } = holdersOfDatasets(datasets);
  return holders.length > 0 || !complete;
}

/** Longer than udev looks at a device. */
const patience = 5_000;

/**
 * The kernel says whether a zvol is open; only then all processes are looked through for who it is. Whom that does not show may be
 * udev, for a moment, or somebody in another namespace or with nothing but a mapping.
 */
function holdersOfDatasets(datasets: readonly string[]): Holders {
  const until = performance.now() + patience;
  for (let pause = 5; ; pause = Math.min(pause * 2, 100)) {
    const { open, unknown } = openAmong(datasets);
    if (open.length + unknown.length === 0) return { holders: [], complete: true };
    const devices = devicesOf([...open, ...unknown]);
    const stacked = devices.flatMap(({ name, part, path }) =>
      stackedOn(name, part).map((above) => ({ command: `the device /dev/${above}`, path })),
    );
    const wanted = new Map(devices.map(({ number, path }) => [number, path]));
    const holders = [...stacked, ...findDeviceHolders(wanted).holders];
    const found = open.filter((dataset) => holders.some(({ path }) => path === zvolLink(dataset)));
    const complete = found.length === open.length;
    if (complete || performance.now() > until) return { holders, complete };
    sleep(pause);
  }
}

/** What is mounted from these zvols, or in these trees. */
export function mountsOf(
  places: Places,
  held: readonly HeldDataset[],
): ReadonlyArray<{ readonly path: string; readonly source: string }> {
  const { disks, trees } = byKind(places, held);
  return [...mountsOfDisks(disks), ...trees.flatMap(mountsIn)];
}

function mountsOfDisks(
  disks: readonly string[],
): ReadonlyArray<{ readonly path: string; readonly source: string }> {
  const devices = devicesOf(disks);
  const wanted = new Map(devices.map(({ number, path }) => [number, path]));
  return readMounts().flatMap(({ fileSystem, mountPoint }) => {
    const [major = 0, minor = 0] = fileSystem.split(':').map(Number);
    const number = BigInt(minor & 0xff) | (BigInt(major & 0xfff) << 8n) | (BigInt(minor & ~0xff) << 12n);
    const source = wanted.get(number);
    return source === undefined ? [] : [{ path: mountPoint, source }];
  });
}

interface Part {
  readonly name: string;
  readonly part: string;
  readonly number: bigint;
  readonly path: string;
}

function devicesOf(datasets: readonly string[]): Part[] {
  return datasets.flatMap((dataset) => {
    const device = deviceOf(dataset);
    if (!device) return [];
    return partsOf(device.name).flatMap((part) => {
      const number = numberOf(device.name, part);
      return number === undefined ? [] : [{ name: device.name, part, number, path: zvolLink(dataset) }];
    });
  });
}
