import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { Descriptor } from '../../src/linux/files.ts';
import { monotonicMilliseconds } from '../../src/linux/monotonic.ts';
import { digest, digestOf, patternBytes, writeAt, writePattern } from '../support/content.ts';
import { refusal } from '../support/errors.ts';
import { holdOpen } from '../support/holder.ts';
import { conformance } from './suite.ts';

const MiB = 2 ** 20;

conformance('snapshots', (suite) => {
  const { needs } = suite;

  needs('snapshots')('with a name that is given, and with one from the time', async () => {
    const { pool } = suite;
    const { name } = await suite.volume();
    expect(await pool.snapshot(`${name}@mine`)).toEqual({
      reference: `${name}@mine`,
      volume: name,
      name: 'mine',
      id: expect.any(String),
      consistency: 'sync',
      created: expect.any(String),
    });
    const generated = [await pool.snapshot(name), await pool.snapshot(name), await pool.snapshot(name)];
    expect(new Set(generated.map((snapshot) => snapshot.name)).size).toBe(3);
    for (const snapshot of generated) expect(snapshot.name).toMatch(/^snap-\d{8}-\d{6}(-\d+)?$/);
    await refusal(() => pool.snapshot(`${name}@mine`), 'already_exists');
    await refusal(() => pool.snapshot('never-made@s'), 'not_found');
  });

  needs('snapshots')('say what the caller has made sure of, and only in its time', async () => {
    const { pool } = suite;
    const { name } = await suite.volume();
    const later = monotonicMilliseconds() + 60_000;
    const still = { heldStill: 'freeze', frozenUntil: later } as const;
    expect(await pool.snapshot(`${name}@one`, still)).toMatchObject({ consistency: 'freeze' });
    const other = await suite.volume();
    const group = await pool.snapshot([`${name}@two`, `${other.name}@two`], still);
    expect(group.snapshots.map(({ consistency }) => consistency)).toEqual(['freeze', 'freeze']);
    const levels = async (): Promise<unknown> =>
      (await pool.listSnapshots(name)).map(({ consistency }) => consistency);
    expect(await levels()).toEqual(['freeze', 'freeze']);
    const past = { heldStill: 'freeze', frozenUntil: monotonicMilliseconds() - 1 } as const;
    await refusal(() => pool.snapshot(`${name}@late`, past), 'io_error');
    await refusal(() => pool.snapshot([`${name}@late`, `${other.name}@late`], past), 'io_error');
    const wrong = { heldStill: 'none' } as unknown as { heldStill: 'cold' };
    await refusal(() => pool.snapshot(`${name}@none`, wrong), 'invalid_argument');
    expect(await levels()).toHaveLength(2);
  });

  needs('snapshots')('hold the state of their instant, byte for byte', async () => {
    const { pool } = suite;
    const { name, path } = await suite.volume();
    const states = [1, 2, 3].map((seed) => ({ seed, bytes: patternBytes(seed, MiB) }));
    for (const { seed, bytes } of states) {
      writeAt(path, bytes, 0);
      await pool.snapshot(`${name}@s${seed}`);
    }
    writePattern(path, 4, 0, MiB);
    for (const { seed, bytes } of states)
      expect(digest(await pool.diskPath(`${name}@s${seed}`))).toBe(digestOf(bytes));
    await pool.grow(name, { bytes: 2 * MiB });
    expect((await pool.listSnapshots(name)).map((snapshot) => snapshot.bytes)).toEqual([MiB, MiB, MiB]);
  });

  needs('snapshots')('hold what was written and not yet flushed', async () => {
    const { name, path } = await suite.volume(4 * MiB);
    using descriptor = new Descriptor(openSync(path, 'r+'));
    writeSync(descriptor.fd, patternBytes(5, 4 * MiB));
    await suite.pool.snapshot(`${name}@s`);
    expect(digest(await suite.pool.diskPath(`${name}@s`))).toBe(digestOf(patternBytes(5, 4 * MiB)));
  });

  needs('snapshots')('are immutable, also for a descriptor opened before on the volume', async () => {
    const { name, path } = await suite.volume();
    const bytes = writePattern(path, 6, 0, MiB);
    using before = new Descriptor(openSync(path, 'r+'));
    await suite.pool.snapshot(`${name}@s`);
    const snapshot = await suite.pool.diskPath(`${name}@s`);
    expect(() => writeAt(snapshot, Buffer.from('x'), 0)).toThrow(/EROFS|EPERM/);
    writeSync(before.fd, patternBytes(7, MiB), 0, MiB, 0);
    expect(digest(snapshot)).toBe(digestOf(bytes));
    expect(digest(path)).toBe(digestOf(patternBytes(7, MiB)));
  });

  needs('snapshots')('are listed in the order in which they were taken, whatever their names', async () => {
    const { pool } = suite;
    const { name, path } = await suite.volume();
    for (const [index, snapshot] of ['z', 'a', 'm', 'B', '0'].entries()) {
      writePattern(path, index, 0, 4096);
      await pool.snapshot(`${name}@${snapshot}`);
    }
    const listed = await pool.listSnapshots(name);
    expect(listed.map((snapshot) => snapshot.name)).toEqual(['z', 'a', 'm', 'B', '0']);
    expect(listed[0]).toEqual({
      reference: `${name}@z`,
      name: 'z',
      bytes: MiB,
      created: expect.stringMatching(/Z$/),
      consistency: 'sync',
      reason: 'user',
    });
    await refusal(() => pool.show(`${name}@never`), 'not_found');
    expect((await pool.show(`${name}@m`)).snapshotList.map((snapshot) => snapshot.name)).toEqual(['m']);
  });

  describe.each([
    ['first', 0],
    ['middle', 2],
    ['last', 4],
  ] as const)('after the %s is removed', (_, index) => {
    needs('snapshots')('the others and the volume are as they were', async () => {
      const { pool } = suite;
      const { name, path } = await suite.volume();
      for (let seed = 0; seed < 5; seed++) {
        writePattern(path, seed, 0, MiB);
        await pool.snapshot(`${name}@s${seed}`);
      }
      await pool.remove(`${name}@s${index}`);
      const left = [0, 1, 2, 3, 4].filter((seed) => seed !== index);
      expect((await pool.listSnapshots(name)).map((snapshot) => snapshot.name)).toEqual(
        left.map((seed) => `s${seed}`),
      );
      for (const seed of left)
        expect(digest(await pool.diskPath(`${name}@s${seed}`))).toBe(digestOf(patternBytes(seed, MiB)));
      expect(digest(path)).toBe(digestOf(patternBytes(4, MiB)));
      await refusal(() => pool.diskPath(`${name}@s${index}`), 'not_found');
    });
  });

  needs('snapshots')(
    'of a volume that another process is writing to: a state that it really had',
    async () => {
      const { pool } = suite;
      const { name, path } = await suite.volume();
      await using writer = await countingWriter([path]);
      for (let snapshot = 0; snapshot < 5; snapshot++) {
        const flushed = await writer.flushed();
        await pool.snapshot(`${name}@s${snapshot}`);
        const content = readFileSync(await pool.diskPath(`${name}@s${snapshot}`));
        // Block after block, each with its number and flushed before it is counted: all that were counted must be there.
        for (let block = 0; block < Math.min(flushed, content.length / 4096); block++)
          expect((content.readUInt32LE(block * 4096) - 1) % (MiB / 4096)).toBe(block);
      }
    },
  );

  needs('snapshots')('that somebody has open can not be removed, unless forced', async () => {
    const { name } = await suite.volume();
    await suite.pool.snapshot(`${name}@s`);
    const path = await suite.pool.diskPath(`${name}@s`);
    await using holder = await holdOpen(path, 'read');
    const error = await refusal(() => suite.pool.remove(`${name}@s`), 'blocked');
    expect(error.blockers[0]?.what).toContain(`process ${holder.pid}`);
    const forced = () => suite.pool.remove(`${name}@s`, { force: true });
    if (suite.backend.traits.removesOpenSnapshots === true) await forced();
    else expect((await refusal(forced, 'blocked')).message).toMatch(/open/);
  });

  needs('snapshots')(
    'block the removal of their volume, each by its name, unless they are to go with it',
    async () => {
      const { pool } = suite;
      const { name } = await suite.volume();
      await pool.snapshot(`${name}@a`);
      await pool.snapshot(`${name}@b`);
      const error = await refusal(() => pool.remove(name), 'blocked');
      expect(error.blockers.map((blocker) => blocker.what).sort()).toEqual([
        `${name} has the snapshot a`,
        `${name} has the snapshot b`,
      ]);
      expect((await refusal(() => pool.remove([name, `${name}@a`]), 'blocked')).blockers).toHaveLength(1);
      expect(await pool.remove(name, { withSnapshots: true })).toMatchObject({
        removed: [name],
        snapshots: expect.arrayContaining([`${name}@a`, `${name}@b`]),
      });
    },
  );

  needs('sameInstantSnapshots')('of several volumes at the same instant', async () => {
    const { pool } = suite;
    const volumes = [await suite.volume(), await suite.volume()];
    const names = volumes.map(({ name }) => name);
    await using writer = await countingWriter(volumes.map(({ path }) => path));
    for (let round = 0; round < 5; round++) {
      const before = await writer.flushed();
      await pool.snapshot(names, { name: `s${round}` });
      const disks = await Promise.all(names.map((name) => pool.diskPath(`${name}@s${round}`)));
      const [first = 0, second = 0] = disks.map((disk) => lastWritten(readFileSync(disk)));
      // A block is in the second disk only after it was in the first.
      expect(second, `round ${round}`).toBeGreaterThanOrEqual(before);
      expect([second, second + 1]).toContain(first);
    }
  });
  needs('treeVolumes')(
    'of a tree with nested subvolumes: included or refused, never silently missing',
    async () => {
      const { pool } = suite;
      const name = suite.name('tree');
      await pool.create(name, { kind: 'tree' });
      const path = await pool.diskPath(name);
      writeFileSync(join(path, 'file'), 'first');
      await pool.snapshot(`${name}@s`);
      writeFileSync(join(path, 'file'), 'changed');
      const directory = await pool.diskPath(`${name}@s`);
      expect(readFileSync(join(directory, 'file'), 'utf8')).toBe('first');
      expect((await pool.show(name)).problems).toEqual([]);
      suite.backend.tools.nest(suite.home.path, name);
      expect((await pool.show(name)).problems.join()).toMatch(/contains .*nested/);
      await refusal(() => pool.rollback(`${name}@s`), 'damaged');
      await refusal(() => pool.remove(name, { withSnapshots: true, force: true }), 'blocked');
      expect(readFileSync(join(path, 'file'), 'utf8')).toBe('changed');
    },
  );
});

/** The number of the block that `countingWriter` has written last. */
function lastWritten(disk: Buffer): number {
  return Math.max(...Array.from({ length: disk.length / 4096 }, (_, at) => disk.readUInt32LE(at * 4096)));
}

/** A process that writes block after block, to each of some disks in turn, each with its number and flushed, and says how many. */
async function countingWriter(
  paths: readonly string[],
): Promise<{ flushed(): Promise<number> } & AsyncDisposable> {
  const script = `
    const { openSync, writeSync, fsyncSync, fstatSync } = require('node:fs');
    const disks = process.argv.slice(1).map((path) => openSync(path, 'r+'));
    const blocks = ${MiB} / 4096;
    const block = Buffer.alloc(4096);
    let done = 0;
    const step = () => {
      block.writeUInt32LE(done + 1);
      for (const fd of disks) {
        writeSync(fd, block, 0, 4096, (done % blocks) * 4096);
        fsyncSync(fd);
      }
      done++;
      setImmediate(step);
    };
    process.on('message', () => process.send(done));
    process.on('disconnect', () => process.exit(0));
    step();
  `;
  const child = spawn(process.execPath, ['-e', script, ...paths], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  return {
    async flushed() {
      const answer = once(child, 'message');
      child.send('how many');
      return (await answer)[0] as number;
    },
    async [Symbol.asyncDispose]() {
      const ended = once(child, 'exit');
      child.disconnect();
      await ended;
    },
  };
}
