import { existsSync, lchownSync, mkdirSync, openSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { createContext } from '../../src/engine/context.ts';
import { openRoot } from '../../src/engine/pools/open.ts';
import { openPool, type Pool } from '../../src/index.ts';
import { writeAttribute } from '../../src/linux/attributes.ts';
import { Descriptor } from '../../src/linux/files.ts';
import { lock } from '../../src/linux/locks.ts';
import { randomId } from '../../src/linux/random.ts';
import type { Name } from '../../src/model/names.ts';
import { type MountedFileSystem, mountedFileSystem } from '../support/devices.ts';
import { fileSystems } from './backends.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;
const user = 65533;

/** Root works in a pool that belongs to a user, who can write there whatever he likes: root does nothing for him that he could not do. */
describe.each(fileSystems)('a pool of a hostile owner, on $name', (backend) => {
  let host: MountedFileSystem | undefined;
  let pool: Pool | undefined;

  afterEach(async () => {
    await pool?.close();
    host?.[Symbol.dispose]();
    [pool, host] = [undefined, undefined];
  });

  const made = async (owner: number): Promise<string> => {
    host = mountedFileSystem(backend.name, GiB);
    const home = join(host.path, 'home');
    mkdirSync(home);
    backend.createPool({ path: home, existing: true });
    pool = await openPool(home, { inline: true });
    await pool.create('a', { bytes: MiB });
    await pool.create('b', { bytes: MiB });
    lchownSync(home, owner, owner);
    return home;
  };

  /** Turns the volume b into what a rollback of a would have left when it died, with these fields. */
  const leaveRollback = (home: string, fields: Readonly<Record<string, string>>): void => {
    using root = openRoot(home);
    using context = createContext({ path: home, root: root.fd, metadata: root.metadata }, true);
    const heldA = context.driver.hold({ area: 'volumes', name: 'a' as Name }, 'shared', true);
    const heldB = context.driver.hold({ area: 'volumes', name: 'b' as Name }, 'shared', true);
    if (typeof heldA === 'string' || typeof heldB === 'string') throw new Error('no volumes');
    using a = heldA;
    using b = heldB;
    const volume = context.driver.read(a);
    const intent = {
      type: 'rollback',
      volumeId: volume?.type === 'volume' ? volume.id : '',
      volume: 'a',
      target: 's',
      keep: 'kept',
      replacedUuid: context.driver.payloadUuid(b),
      stagedUuid: 'x',
      created: '2026-01-01T00:00:00.000Z',
      ...fields,
    };
    const staged = join(home, '.staging', randomId());
    renameSync(join(home, 'volumes', 'b'), staged);
    using entry = new Descriptor(openSync(staged, 'r'));
    writeAttribute(entry.fd, 'user.coppice', JSON.stringify(intent));
  };

  test('a name in what is to be recovered is no path, whoever the owner is', async () => {
    const home = await made(0);
    leaveRollback(home, { keep: '../../../../escaped' });
    const again = await openPool(home, { inline: true });
    await again.close();
    expect(readdirSync(host?.path ?? '').filter((name) => name.startsWith('escaped'))).toEqual([]);
  });

  test('what a dead rollback left is finished for root alone', async () => {
    const home = await made(0);
    leaveRollback(home, {});
    await using again = await openPool(home, { inline: true });
    expect((await again.listSnapshots('a')).map((snapshot) => snapshot.name)).toEqual(['kept']);
  });

  test("root clears nothing in another's pool, and deletes nothing that he could not", async () => {
    const home = await made(user);
    leaveRollback(home, {});
    const buried = join(home, '.tombstones', 'zz');
    mkdirSync(join(buried, 'data'), { recursive: true });
    writeFileSync(join(buried, 'data', 'log'), "root's");
    await using again = await openPool(home, { inline: true });
    expect(existsSync(join(buried, 'data', 'log'))).toBe(true);
    expect(await again.listSnapshots('a')).toEqual([]);
    expect((await again.list()).map((volume) => volume.name)).toEqual(['a']);
  });

  test('who can open only the directory of the pool keeps nobody from working', async () => {
    const home = await made(0);
    using locked = new Descriptor(openSync(home, 'r'));
    lock(locked.fd, 'exclusive', true);
    await pool?.snapshot(['a', 'b']);
    await pool?.remove(['a', 'b'], { withSnapshots: true });
    expect(await pool?.list()).toEqual([]);
  });
});
