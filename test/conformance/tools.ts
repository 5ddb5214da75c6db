import { readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { runProgram } from '../../src/linux/programs.ts';

/** What a person does to a pool behind Coppice's back, with the tools that each file system has for it. */
export interface Tools {
  /** Makes what never changes writable, or read-only again. */
  setReadOnly(disk: string, readOnly: boolean): void;
  /** Removes the data of an entry whole. */
  removeData(disk: string): void;
  /** Puts a copy of the data of one entry in the place of that of another, which has none. */
  copyData(disk: string, target: string, access: 'readonly' | 'writable'): void;
  setLabel(pool: string, label: string): void;
  /** Puts something into a directory tree that its snapshots can't hold, named "nested". */
  nest(pool: string, name: string): void;
  /** Bytes that all data in a pool takes, counted by other means than Coppice's. */
  usedBytes(pool: string): number;
}

export const btrfsTools: Tools = {
  setReadOnly: (disk, readOnly) =>
    void runProgram('btrfs', ['property', 'set', '-f', '-ts', dirname(disk), 'ro', String(readOnly)]),
  removeData: (disk) => void runProgram('btrfs', ['subvolume', 'delete', dirname(disk)]),
  copyData(disk, target, access) {
    const flags = access === 'readonly' ? ['-r'] : [];
    runProgram('btrfs', ['subvolume', 'snapshot', ...flags, dirname(disk), dirname(target)]);
  },
  nest: (pool, name) =>
    void runProgram('btrfs', ['subvolume', 'create', join(pool, 'volumes', name, 'active', 'nested')]),
  setLabel: (pool, label) => void runProgram('btrfs', ['filesystem', 'label', pool, label]),
  usedBytes(pool) {
    runProgram('sync', ['--file-system', '--', pool]);
    const data = /^Data, .*used=(\d+)$/m.exec(runProgram('btrfs', ['filesystem', 'df', '--raw', pool]));
    return Number(data?.[1]);
  },
};

export const xfsTools: Tools = {
  setReadOnly: (disk, readOnly) => void runProgram('chattr', [readOnly ? '+i' : '-i', disk]),
  removeData(disk) {
    runProgram('chattr', ['-i', disk]);
    rmSync(dirname(disk), { recursive: true });
  },
  copyData(disk, target, access) {
    runProgram('cp', ['-a', '--reflink=always', '--', dirname(disk), dirname(target)]);
    if (access === 'readonly') runProgram('chattr', ['+i', target]);
  },
  nest: noTrees,
  setLabel: (pool, label) => void runProgram('xfs_io', ['-c', `label -s ${label}`, pool]),
  /** Every block once, whoever refers to it: what statfs counts has the file system's own blocks in it. */
  usedBytes(pool) {
    runProgram('sync', ['--file-system', '--', pool]);
    const disks = readdirSync(pool, { recursive: true, encoding: 'utf8' }).filter((path) =>
      path.endsWith('disk.raw'),
    );
    const blocks = new Set<number>();
    for (const disk of disks) {
      const map = runProgram('filefrag', ['-e', '-b4096', '--', join(pool, disk)]);
      for (const [, start, end] of map.matchAll(/^\s*\d+:\s+\d+\.\.\s*\d+:\s+(\d+)\.\.\s*(\d+):/gm))
        for (let block = Number(start); block <= Number(end); block++) blocks.add(block);
    }
    return blocks.size * 4096;
  },
};

export const zfsTools: Tools = {
  nest(pool, name) {
    runProgram('zfs', ['create', `${pool.replace(/^zfs:/, '')}/${name}/nested`]);
  },
  setReadOnly: notOnZfs,
  removeData: notOnZfs,
  copyData: notOnZfs,
  setLabel: notOnZfs,
  /** What the datasets below the pool take: that of the pool's own is kept to with every change. */
  usedBytes(pool) {
    const dataset = pool.replace(/^zfs:/, '');
    runProgram('zpool', ['sync', dataset.split('/', 1)[0] ?? '']);
    const names = runProgram('zfs', ['list', '-Hp', '-r', '-t', 'all', '-o', 'used,usedbychildren', dataset]);
    return Number(names.split('\n', 1)[0]?.split('\t')[1]);
  },
};

function noTrees(): never {
  throw new Error('there are no directory trees on this; the case needs a capability');
}

function notOnZfs(): never {
  throw new Error('nothing on ZFS can be changed so; the case needs a trait');
}
