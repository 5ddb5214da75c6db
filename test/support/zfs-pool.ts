import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Place } from '../../src/drivers/driver.ts';
import { lockName, openLocks, takeLock } from '../../src/drivers/zfs/locks.ts';
import { propertiesOf } from '../../src/drivers/zfs/look.ts';
import { createPool, openPool, type Pool } from '../../src/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import type { Name } from '../../src/model/names.ts';
import { scratchDirectory } from './devices.ts';
import type { TestPool, TestPoolOptions } from './test-pool.ts';

/** The disk of the guest that is for pools. */
export const zfsDevice = '/dev/vdb';
const zpool = 'testing';
let count = 0;

/** A pool in a dataset of its own. All lie in one zpool, because to make one takes seconds in a guest. */
export async function makeZfsPool(options: TestPoolOptions = {}): Promise<TestPool> {
  if (!poolExists()) createPool({ path: zpool, driver: 'zfs', device: zfsDevice, force: true });
  const dataset = `${zpool}/p${process.pid}-${++count}`;
  runProgram('zfs', [
    'create',
    ...(options.bytes === undefined ? [] : ['-o', `quota=${options.bytes}`]),
    dataset,
  ]);
  const path = `zfs:${dataset}`;
  createPool({ path, existing: true });
  const opened: Pool[] = [];
  const open = async (): Promise<Pool> => {
    const pool = await openPool(path, { inline: options.inline ?? true, lockTimeout: 20_000 });
    opened.push(pool);
    return pool;
  };
  const scratch = options.directory ?? scratchDirectory('zfs');
  const pool = await open();
  return {
    pool,
    path,
    file: join(scratch, 'none'),
    scratch,
    reopen: open,
    async [Symbol.asyncDispose]() {
      for (const each of opened) await each.close();
      const left = stagedIn(path);
      destroy(dataset);
      if (left.length > 0) throw new Error(`left in staging: ${left.join(', ')}`);
    },
  };
}

/** The lock of a pool or of one of its volumes, which is waited for. */
export function lockOnZfs(path: string, volume?: string): Disposable {
  const guid = BigInt.asUintN(64, BigInt(propertiesOf(path.replace(/^zfs:/, ''), ['guid']).guid ?? 0));
  using locks = openLocks(guid.toString());
  const place: Place = volume === undefined ? { area: 'pool' } : { area: 'volumes', name: volume as Name };
  const taken = takeLock(locks.fd, lockName(place), 'exclusive', true);
  if (!taken) throw new Error('a lock that is waited for is got');
  return taken;
}

/** Unfinished entries. */
export function stagedIn(path: string): string[] {
  const staging = `${path.replace(/^zfs:/, '')}/.coppice/staging`;
  const names = runProgram('zfs', ['list', '-Hp', '-r', '-d', '1', '-t', 'all', '-o', 'name', staging]);
  return names.split('\n').filter((name) => name !== '' && name !== staging);
}

function poolExists(): boolean {
  return existsSync(`/proc/spl/kstat/zfs/${zpool}`);
}

/** udev may be looking at a device. */
function destroy(dataset: string): void {
  for (let tries = 1; ; tries++) {
    try {
      runProgram('zfs', ['destroy', '-R', dataset]);
      return;
    } catch (error) {
      if (tries === 20) throw error;
      runProgram('udevadm', ['settle']);
    }
  }
}
