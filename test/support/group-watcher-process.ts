import { openPool } from '../../src/index.ts';

/** What a process says that has looked at some volumes of a pool again and again. */
export interface Watched {
  readonly looks: number;
  readonly torn: readonly string[];
}

const pool = await openPool(process.argv[2], { inline: true });
let [volumes, announced]: [readonly string[], boolean] = [[], true];
let [looks, stopped] = [0, false];
const torn: string[] = [];

process.on('message', (message: 'stop' | readonly string[]) => {
  if (message === 'stop') {
    stopped = true;
    process.send?.({ looks, torn: torn.slice(0, 5) } satisfies Watched, () => process.disconnect());
  } else [volumes, announced] = [message, false];
});
process.on('disconnect', () => {
  stopped = true;
});
process.send?.('ready');

while (!stopped) {
  await look();
  // Only between two looks does it hear whom to follow, or that it shall stop.
  await new Promise(setImmediate);
}
await pool.close();

async function look(): Promise<void> {
  looks++;
  const present = (await pool.list()).filter(({ name }) => volumes.includes(name));
  someOnly('volumes', present.length);
  someOnly('counted snapshots', present.filter((volume) => volume.snapshots > 0).length, present.length);
  const snapshots = (await pool.listSnapshots()).filter(({ reference }) =>
    volumes.includes(reference.split('@', 1)[0] ?? ''),
  );
  someOnly('snapshots', snapshots.length);
  if (announced || present.length < volumes.length) return;
  announced = true;
  process.send?.('seen');
}

function someOnly(what: string, count: number, all: number = volumes.length): void {
  if (count > 0 && count < all) torn.push(`look ${looks}: ${count} of ${all} ${what}`);
}
