import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { lockName, openLocks, takeLock } from '../../src/drivers/zfs/locks.ts';
import { propertiesOf } from '../../src/drivers/zfs/look.ts';
import type { Pool } from '../../src/index.ts';
import { Descriptor } from '../../src/linux/files.ts';
import { lock } from '../../src/linux/locks.ts';
import { readMounts } from '../../src/linux/mounts.ts';
import { hasErrno } from '../../src/linux/system-calls.ts';
import type { Name } from '../../src/model/names.ts';
import { diskBytes, patternBytes } from './content.ts';
import { blockBytes, type Disk, filesInTree, type Outcome } from './model.ts';

/** What machines do with their disks, in the model's words: a block holds zeros, or what a number stands for. */

export function blockOf(seed: number): Buffer {
  const block = patternBytes(seed, blockBytes);
  block.writeUInt32LE(seed);
  return block;
}

/** A whole disk, as a file of it would be. */
export function bytesOf({ bytes, written }: Disk): Buffer {
  const content = Buffer.alloc(bytes);
  for (const [index, seed] of Object.entries(written))
    blockOf(seed).copy(content, Number(index) * blockBytes);
  return content;
}

/** What a disk holds, looked at byte for byte. A block that nobody has written so is told as -1. */
export function readDisk(path: string): Disk {
  const content = readFileSync(path);
  const written: Record<string, number> = {};
  for (let offset = 0; offset < content.length; offset += blockBytes) {
    const block = content.subarray(offset, offset + blockBytes);
    if (block.equals(zeros)) continue;
    const seed = block.readUInt32LE();
    written[String(offset / blockBytes)] = block.equals(blockOf(seed)) ? seed : -1;
  }
  return { bytes: content.length, written };
}

const zeros = Buffer.alloc(blockBytes);

/** The same for a directory, in which a block is a file. One that was only begun is none yet. */
export function readTree(directory: string): Disk {
  const files = readdirSync(directory).map((name) => [name, readFileSync(join(directory, name))] as const);
  const written = files.flatMap(([name, content]) => {
    if (content.length === 0) return [];
    const seed = content.readUInt32LE();
    return [[name, content.equals(blockOf(seed)) ? seed : -1] as const];
  });
  return { bytes: 0, written: Object.fromEntries(written) };
}

/**
 * Writes one block and flushes it, as one step: as any operation does, it has the lock of the volume that it writes to, so that
 * this is not renamed, rolled back or removed meanwhile. Snapshots and clones are taken while it writes. Undefined when nobody
 * can know what became of it.
 */
export async function writeBlock(
  pool: Pick<Pool, 'diskPath' | 'sync'>,
  name: string,
  block: number,
  seed: number,
): Promise<Outcome | undefined> {
  for (;;) {
    const path = await pool.diskPath(name);
    using guard = await locked(path);
    // The lock may be that of what had this name before.
    if (!guard || (await pool.diskPath(name)) !== path) continue;
    const outcome = write(path, block, seed);
    // So that the name under which it wrote is as durable as what it wrote.
    await pool.sync();
    return outcome;
  }
}

function write(path: string, block: number, seed: number): Outcome | undefined {
  const isTree = statSync(path).isDirectory();
  const file = isTree ? join(path, String(block % filesInTree)) : path;
  try {
    const fd = openSync(file, isTree ? constants.O_WRONLY | constants.O_CREAT : constants.O_WRONLY, 0o600);
    try {
      const at = isTree ? 0 : (block % (diskBytes(path) / blockBytes)) * blockBytes;
      writeSync(fd, blockOf(seed), 0, blockBytes, at);
      try {
        fsyncSync(fd);
      } catch (error) {
        if (hasErrno(error, 'ENOSPC')) return undefined;
        throw error;
      }
      return {};
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    const message = String(error);
    if (hasErrno(error, 'EROFS', 'EPERM')) return { failed: 'blocked', message };
    if (hasErrno(error, 'ENOSPC')) return { failed: 'no_space', message };
    throw error;
  }
}

function locked(path: string): Promise<Disposable | undefined> {
  if (path.startsWith('/dev/')) return lockedDataset(path.replace('/dev/zvol/', ''));
  const tree = readMounts().find(({ mountPoint, type }) => mountPoint === path && type === 'zfs');
  return tree ? lockedDataset(tree.source) : lockedDirectory(dirname(dirname(path)));
}

/** The lock of a volume on zfs. */
async function lockedDataset(volume: string): Promise<Disposable> {
  const dataset = dirname(volume);
  const guid = BigInt.asUintN(64, BigInt(propertiesOf(dataset, ['guid']).guid ?? 0));
  using locks = openLocks(guid.toString());
  const name = lockName({ area: 'volumes', name: basename(volume) as Name });
  for (;;) {
    const taken = takeLock(locks.fd, name, 'shared', false);
    if (taken) return taken;
    await delay(1);
  }
}

/** Undefined when that is not there any more, or another one by now. */
async function lockedDirectory(path: string): Promise<Descriptor | undefined> {
  using opened = new DisposableStack();
  try {
    const directory = opened.use(new Descriptor(openSync(path, constants.O_RDONLY | constants.O_DIRECTORY)));
    while (!lock(directory.fd, 'shared', false)) await delay(1);
    if (statSync(path).ino !== fstatSync(directory.fd).ino) return undefined;
    opened.move();
    return directory;
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}
