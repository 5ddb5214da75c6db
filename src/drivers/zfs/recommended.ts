import { runZfs } from './command.ts';
import { layoutOf } from './layout.ts';

/** What a pool for the disks of virtual machines should have, and what it costs not to have it. */
interface Recommendation {
  readonly property: string;
  /** Of the whole zpool, or of the dataset. */
  readonly of: 'zpool' | 'dataset';
  readonly value: string;
  readonly isFine: (value: string) => boolean;
  readonly cost: string;
  /** Undefined where it can't be changed any more. */
  readonly remedy: ((target: string) => string) | undefined;
}

const is = (wanted: string) => (value: string) => value === wanted;

const recommendations: readonly Recommendation[] = [
  {
    property: 'ashift',
    of: 'zpool',
    value: '12',
    // 0: each device has been asked.
    isFine: (value) => value === '0' || Number(value) >= 12,
    cost: 'each write of less than 4 KiB makes an SSD read, change and write a sector of its own',
    remedy: undefined,
  },
  {
    property: 'autotrim',
    of: 'zpool',
    value: 'on',
    isFine: is('on'),
    cost: 'freed blocks are not given back to an SSD, which gets slower as it fills',
    remedy: (pool) => `zpool set autotrim=on ${pool}`,
  },
  {
    property: 'compression',
    of: 'dataset',
    value: 'lz4',
    isFine: (value) => value !== 'off',
    cost: 'disks take as much space as was written to them, also for blocks of one byte',
    remedy: (dataset) => `zfs set compression=lz4 ${dataset}`,
  },
  {
    property: 'xattr',
    of: 'dataset',
    value: 'sa',
    isFine: is('sa'),
    cost: 'each extended attribute of a file is a hidden file of its own',
    remedy: (dataset) => `zfs set xattr=sa ${dataset}`,
  },
  {
    property: 'atime',
    of: 'dataset',
    value: 'off',
    isFine: is('off'),
    cost: 'each reading of a file is followed by a write',
    remedy: (dataset) => `zfs set atime=off ${dataset}`,
  },
];

/** The options of `zpool create`. */
export function newPoolOptions(ashift: number): string[] {
  const options = recommendations.flatMap(({ property, of, value }) =>
    property === 'ashift' ? [] : [of === 'zpool' ? '-o' : '-O', `${property}=${value}`],
  );
  // The host leaves alone what guests write on their disks; and nothing is mounted but directory trees, below the pool's name.
  return ['-o', `ashift=${ashift}`, ...options, '-O', 'volmode=dev', '-O', 'canmount=off'];
}

/** What a person should know about a dataset that is taken as it is, one sentence each. Nothing of it is changed. */
export function differences(dataset: string): string[] {
  const { zpool } = layoutOf(dataset);
  const values = {
    zpool: valuesOf('zpool', zpool),
    dataset: valuesOf('zfs', dataset),
  };
  return recommendations.flatMap(({ property, of, value, isFine, cost, remedy }) => {
    const found = values[of].get(property);
    if (found === undefined || isFine(found)) return [];
    const target = of === 'zpool' ? zpool : dataset;
    const what = remedy
      ? `"${remedy(target)}" sets it`
      : 'it is set when a pool is made, and can not be changed later';
    return [`${target} has ${property}=${found} where ${value} is better: ${cost}; ${what}.`];
  });
}

function valuesOf(program: 'zfs' | 'zpool', target: string): ReadonlyMap<string, string> {
  const names = recommendations
    .filter(({ of }) => (of === 'zpool') === (program === 'zpool'))
    .map(({ property }) => property);
  const lines = runZfs(program, ['get', '-Hp', '-o', 'property,value', names.join(), target]).split('\n');
  return new Map(lines.filter(Boolean).map((line) => line.split('\t') as [string, string]));
}
