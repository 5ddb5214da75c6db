import { closeSync, fsyncSync, globSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { BenchDaemon } from './support/daemon.ts';
import { Lxd } from './support/lxd.ts';
import { compare, type Measured, measured, type Target, time } from './support/measure.ts';
import { type BenchPool, benchPool, GiB, library, makeImage } from './support/pool.ts';

const volumes = 300;
const rounds = 15;
const warmUp = 20;
const atATime = 8;

const pools = '/1.0/storage-pools';
const custom = `${pools}/bench/volumes/custom`;

/**
 * The same work done by LXD, over its REST socket, and by the library in worker threads: both from this process, both warm, each on
 * a btrfs loop pool of its own with 300 copies of one disk. LXD's unit is the custom volume of content type `block`: a file in a
 * subvolume, as here. It copies, snapshots and restores one by a subvolume snapshot. Ours are durable when they return.
 */
export async function lxd(): Promise<Measured[]> {
  await using bench = await benchPool();
  await using rival = await Lxd.start();
  await rival.change('POST', pools, { name: 'bench', driver: 'btrfs', config: { size: '32GiB' } });
  await bench.pool.import('template', makeImage(bench.aside, 3));
  await makeVolume(rival);

  const clone = (prefix: string, many: number): Promise<Pair[]> =>
    compare(
      many,
      (round) => time(() => bench.pool.clone('template', `${prefix}-${round}`)),
      (round) => time(() => copyVolume(rival, `${prefix}-${round}`)),
    );
  await clone('warm', warmUp);
  const few = await clone('few', rounds);
  await clone('vm', volumes - 1 - warmUp - rounds);
  const clones = await clone('clone', rounds);

  const inline = await library.openPool(bench.path, { inline: true });
  const inlineClones = await compare(
    rounds,
    (round) => time(() => inline.clone('template', `inline-${round}`)),
    (round) => time(() => copyVolume(rival, `inline-${round}`)),
  );
  await inline.close();
  const together = await compare(
    rounds,
    (round) => time(() => atOnce((one) => bench.pool.clone('template', `together-${round}-${one}`))),
    (round) => time(() => atOnce((one) => copyVolume(rival, `together-${round}-${one}`))),
  );

  const disks = { ours: await bench.pool.diskPath('vm-0'), theirs: diskIn(rival, 'vm-0') };
  const snapshots = await compare(
    rounds + 3,
    (round) => afterWriting(disks.ours, round, () => bench.pool.snapshot(`vm-0@s-${round}`)),
    (round) => afterWriting(disks.theirs, round, () => snapshotVolume(rival, `s-${round}`)),
  );
  const restores = await compare(
    rounds + 3,
    (round) => afterWriting(disks.ours, round, () => bench.pool.rollback(`vm-0@s-${round}`)),
    (round) => afterWriting(disks.theirs, round, () => restoreVolume(rival, `s-${round}`)),
  );
  const lists = await compare(
    rounds + 3,
    () => time(() => listOurs(bench)),
    () => time(() => listTheirs(rival)),
  );
  // Last, for it leaves thousands of volumes.
  const daemon = await throughDaemon(bench, rival);
  return [
    ...rows('clone', clones, { atLeast: 10 }),
    ...rows('clone, inline', inlineClones),
    ...rows(`clone, ${atATime} at once`, together, { atLeast: 10 }),
    ...rows('snapshot, 1 MiB dirty', snapshots.slice(3), { atLeast: 1 }),
    ...rows('restore', restores.slice(3), { atLeast: 1 }),
    ...rows(`list of ${volumes} with sizes`, lists.slice(3), { atLeast: 1 }),
    ...rows('clone, few volumes', few),
    ...daemonRows(daemon),
  ];
}

const daemonClients = 16;
const daemonClones = 800;
const rivalClones = 32;
const daemonRounds = 5;

/** Clones each second that 16 clients get: of the daemon by gRPC, deferred, and of LXD by its REST. Each in its own unit of work. */
async function throughDaemon(bench: BenchPool, rival: Lxd): Promise<Pair[]> {
  await using server = await BenchDaemon.start(bench.path, 'lxd');
  const load = server.clients();
  const ours = async (round: number): Promise<number> => {
    const task = {
      task: 'clone',
      prefix: `daemon-${round}`,
      many: daemonClones,
      clients: daemonClients,
      durable: false,
    } as const;
    return (daemonClones / (await load.ask(task)).milliseconds) * 1000;
  };
  const theirs = async (round: number): Promise<number> => {
    let next = 0;
    const lane = async (): Promise<void> => {
      while (next < rivalClones) await copyVolume(rival, `rest-${round}-${next++}`);
    };
    const milliseconds = await time(() => Promise.all(Array.from({ length: daemonClients }, lane)));
    return (rivalClones / milliseconds) * 1000;
  };
  await ours(-1);
  await theirs(-1);
  return await compare(daemonRounds, ours, theirs);
}

function daemonRows(rates: readonly Pair[]): Measured[] {
  return [
    measured(
      `daemon, clones by ${daemonClients} clients`,
      'times the rate of LXD',
      rates.map(({ a, b }) => a / b),
      { atLeast: 10 },
    ),
    measured(
      `daemon, clones by ${daemonClients} clients, gRPC`,
      'clones/s',
      rates.map(({ a }) => a),
    ),
    measured(
      `daemon, clones by ${daemonClients} clients, LXD`,
      'clones/s',
      rates.map(({ b }) => b),
    ),
  ];
}

interface Pair {
  readonly a: number;
  readonly b: number;
}

/** How many times as fast as LXD, and the milliseconds of both. */
function rows(name: string, times: readonly Pair[], target?: Target): Measured[] {
  return [
    measured(
      `lxd, ${name}`,
      'times as fast as LXD',
      times.map(({ a, b }) => b / a),
      target,
    ),
    measured(
      `lxd, ${name}, library`,
      'ms',
      times.map(({ a }) => a),
    ),
    measured(
      `lxd, ${name}, LXD`,
      'ms',
      times.map(({ b }) => b),
    ),
  ];
}

function atOnce(run: (one: number) => Promise<unknown>): Promise<unknown> {
  return Promise.all(Array.from({ length: atATime }, (_, index) => run(index)));
}

/** A disk with the same content as ours. */
async function makeVolume(rival: Lxd): Promise<void> {
  const config = { size: '2GiB' };
  await rival.change('POST', custom, { name: 'template', type: 'custom', content_type: 'block', config });
  const disk = openSync(diskIn(rival, 'template'), 'r+');
  for (let index = 0; index < 3; index++) {
    const position = index * Math.floor((2 * GiB) / 3 / 4096) * 4096;
    writeSync(disk, Buffer.alloc(4096, 'coppice'), 0, 4096, position);
  }
  fsyncSync(disk);
  closeSync(disk);
}

function diskIn(rival: Lxd, volume: string): string {
  const [disk] = globSync(join(rival.directory, `storage-pools/bench/custom/*_${volume}/root.img`));
  if (disk === undefined) throw new Error(`LXD's volume ${volume} has no disk where it was looked for.`);
  return disk;
}

function copyVolume(rival: Lxd, name: string): Promise<void> {
  return rival.change('POST', custom, {
    name,
    type: 'custom',
    content_type: 'block',
    config: { size: '2GiB' },
    source: { type: 'copy', pool: 'bench', name: 'template', volume_only: true },
  });
}

function snapshotVolume(rival: Lxd, name: string): Promise<void> {
  return rival.change('POST', `${custom}/vm-0/snapshots`, { name });
}

function restoreVolume(rival: Lxd, snapshot: string): Promise<void> {
  return rival.change('PUT', `${custom}/vm-0`, { config: { size: '2GiB' }, restore: snapshot });
}

/** Writes 1 MiB to a disk, as whoever uses it would; only what comes then is timed. */
async function afterWriting(path: string, round: number, run: () => Promise<unknown>): Promise<number> {
  const disk = openSync(path, 'r+');
  writeSync(disk, Buffer.alloc(2 ** 20, round + 1), 0, 2 ** 20, 0);
  closeSync(disk);
  return time(run);
}

async function listOurs({ pool }: BenchPool): Promise<void> {
  const all = await pool.list();
  requireSizes(all.filter(({ bytes }) => bytes === 2 * GiB).length);
}

interface LxdVolume {
  readonly config: { readonly size?: string };
}

/** Has LXD say all that it says of a volume: only so it says the size, too. */
async function listTheirs(rival: Lxd): Promise<void> {
  const all = (await rival.get(`${custom}?recursion=1`)) as readonly LxdVolume[];
  requireSizes(all.filter(({ config }) => config.size === '2GiB').length);
}

function requireSizes(found: number): void {
  if (found < volumes) throw new Error(`${found} of ${volumes} volumes are listed with their size.`);
}
