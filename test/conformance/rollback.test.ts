import {
  existsSync,
  openSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { NotStarted } from '../../src/index.ts';
import { Descriptor } from '../../src/linux/files.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { digest, digestOf, patternBytes, writeAt, writePattern } from '../support/content.ts';
import { loopDevice, scratchDirectory } from '../support/devices.ts';
import { refusal } from '../support/errors.ts';
import { holdMapped, holdOpen } from '../support/holder.ts';
import { conformance } from './suite.ts';

const MiB = 2 ** 20;
const state = (seed: number): string => digestOf(patternBytes(seed, MiB));

conformance('rollback', (suite) => {
  /** A volume with the snapshots s1, s2, s3, each with its pattern, and the pattern 4 now. */
  const prepared = async (): Promise<{ name: string; path: string }> => {
    const volume = await suite.volume();
    for (const seed of [1, 2, 3]) {
      writePattern(volume.path, seed, 0, MiB);
      await suite.pool.snapshot(`${volume.name}@s${seed}`);
    }
    writePattern(volume.path, 4, 0, MiB);
    return volume;
  };

  const { needs } = suite;

  needs('snapshots')('what could not be started after it is told, and whether it went back', async () => {
    const { pool } = suite;
    const { name, path } = await prepared();
    const hook = join(scratchDirectory('hook'), 'stops-only');
    writeFileSync(hook, '#!/bin/sh\ntest "$1" = stop\n', { mode: 0o755 });
    await pool.set(name, { 'stop.hook': hook });
    {
      await using user = await holdOpen(path);
      const { message } = await refusal(() => pool.rollback(`${name}@s2`, { stop: true }), 'blocked');
      expect(message).toContain(`process ${user.pid}`);
      expect(message).toContain('could not be started again: stop.hook: ');
      expect(digest(path)).toBe(state(4));
    }
    const done = await pool.rollback(`${name}@s2`, { stop: true }).catch((error: unknown) => error);
    expect(done).toBeInstanceOf(NotStarted);
    const { message, rolledBack } = done as NotStarted;
    expect(message).toContain(`To undo the rollback: coppice rollback ${rolledBack.undo} --stop.`);
    expect(digest(path)).toBe(state(2));
  });

  needs('snapshots')('to the newest, and its undo gives the replaced state back byte for byte', async () => {
    const { pool } = suite;
    const { name, path } = await prepared();
    const rolledBack = await pool.rollback(`${name}@s3`);
    expect(rolledBack).toEqual({
      volume: name,
      snapshot: 's3',
      undo: expect.stringMatching(`^${name}@pre-rollback-`),
    });
    expect(digest(path)).toBe(state(3));
    const undo = rolledBack.undo ?? '';
    expect(digest(await pool.diskPath(undo))).toBe(state(4));
    expect((await pool.listSnapshots(name)).at(-1)).toMatchObject({ reference: undo, reason: 'rollback' });
    await pool.rollback(undo);
    expect(digest(path)).toBe(state(4));
    expect((await pool.show(name)).problems).toEqual([]);
    writePattern(path, 5, 0, MiB); // and it can be written again
    expect(digest(path)).toBe(state(5));
  });

  needs('snapshots')('to an older one keeps the newer ones', async () => {
    const { pool } = suite;
    const { name, path } = await prepared();
    const { undo } = await pool.rollback(`${name}@s1`);
    expect(digest(path)).toBe(state(1));
    expect((await pool.listSnapshots(name)).map((snapshot) => snapshot.reference)).toEqual([
      `${name}@s1`,
      `${name}@s2`,
      `${name}@s3`,
      undo,
    ]);
    for (const seed of [1, 2, 3]) expect(digest(await pool.diskPath(`${name}@s${seed}`))).toBe(state(seed));
    await pool.rollback(`${name}@s3`);
    expect(digest(path)).toBe(state(3));
  });

  needs('snapshots')('leaves the snapshot as it was when the volume is written afterwards', async () => {
    const { name, path } = await prepared();
    await suite.pool.rollback(`${name}@s2`);
    writePattern(path, 6, 0, MiB);
    expect(digest(await suite.pool.diskPath(`${name}@s2`))).toBe(state(2));
    await suite.pool.rollback(`${name}@s2`);
    expect(digest(path)).toBe(state(2));
  });

  needs('snapshots')('several in the same second each keep what they replaced', async () => {
    const { pool } = suite;
    const { name } = await prepared();
    const undos = [];
    for (const seed of [1, 2, 3, 1]) undos.push((await pool.rollback(`${name}@s${seed}`)).undo ?? '');
    expect(new Set(undos).size).toBe(4);
    const kept = await Promise.all(undos.map(async (undo) => digest(await pool.diskPath(undo))));
    expect(kept).toEqual([4, 1, 2, 3].map(state));
  });

  needs('snapshots')(
    'to a snapshot of another size gives the old size back, and its undo the new one',
    async () => {
      const { pool } = suite;
      const { name, path } = await prepared();
      await pool.grow(name, { bytes: 2 * MiB });
      const { undo } = await pool.rollback(`${name}@s3`);
      expect(digest(path)).toBe(state(3));
      await pool.rollback(undo ?? '');
      expect(digest(path)).toBe(digestOf(patternBytes(4, MiB), 2 * MiB));
    },
  );

  needs('snapshots')('of a volume with clones, and of a clone, leaves the others alone', async () => {
    const { pool } = suite;
    const { name } = await prepared();
    const [live, old] = [suite.name('clone'), suite.name('clone')];
    await pool.clone(name, live);
    await pool.clone(`${name}@s1`, old);
    await pool.snapshot(`${old}@s`);
    writePattern(await pool.diskPath(old), 7, 0, MiB);
    await pool.rollback(`${name}@s2`);
    await pool.rollback(`${old}@s`);
    expect(digest(await pool.diskPath(live))).toBe(state(4));
    expect(digest(await pool.diskPath(old))).toBe(state(1));
    expect(digest(await pool.diskPath(name))).toBe(state(2));
    expect(await pool.show(old)).toMatchObject({ origin: { name, snapshot: 's1' }, problems: [] });
  });

  needs('snapshots')('keeps identity, name, lineage and the other metadata', async () => {
    const { name } = await prepared();
    const before = await suite.pool.show(name);
    await suite.pool.rollback(`${name}@s2`);
    const after = await suite.pool.show(name);
    expect({ ...after, snapshotList: [], snapshots: 0 }).toEqual({
      ...before,
      snapshotList: [],
      snapshots: 0,
    });
  });

  needs('snapshots')('while another process has the disk open is refused and names it', async () => {
    const { pool } = suite;
    const { name, path } = await prepared();
    await using holder = await holdOpen(path, 'read');
    const error = await refusal(() => pool.rollback(`${name}@s1`), 'blocked');
    expect(error.blockers).toHaveLength(1);
    expect(error.blockers[0]).toMatchObject({ kind: 'open' });
    expect(error.blockers[0]?.what).toContain(`${path} is open in process ${holder.pid} (sh -c`);
    expect((await pool.rollback(`${name}@s1`, { dryRun: true })).blockers).toEqual(error.blockers);
    expect(digest(path)).toBe(state(4));
    expect(await pool.listSnapshots(name)).toHaveLength(3);
  });

  needs('snapshots')('while a loop device lies on the disk is refused and names it', async () => {
    const { name, path } = await prepared();
    using loop = loopDevice(path);
    const error = await refusal(() => suite.pool.rollback(`${name}@s1`), 'blocked');
    expect(error.blockers.map((blocker) => blocker.what)).toEqual([
      `${path} is open in loop device ${loop.device}`,
    ]);
  });

  needs('snapshots')('while this process itself has it open is refused', async () => {
    const { name, path } = await prepared();
    using _own = new Descriptor(openSync(path, 'r'));
    const error = await refusal(() => suite.pool.rollback(`${name}@s1`), 'blocked');
    expect(error.blockers.map((blocker) => blocker.kind)).toEqual(['open']);
    expect(error.blockers[0]?.what).toContain(`process ${process.pid}`);
  });

  needs('snapshots')(
    'while it is mapped without a descriptor is refused, though nobody can be named',
    async () => {
      const { name, path } = await prepared();
      await using _mapping = await holdMapped(path);
      const error = await refusal(() => suite.pool.rollback(`${name}@s1`), 'blocked');
      expect(error.blockers.map((blocker) => blocker.kind)).toEqual(['unknown_holders']);
    },
  );

  needs('snapshots')(
    'forced while open: the holder keeps the old state, and can not change what was kept',
    async () => {
      const { pool } = suite;
      const { name, path } = await prepared();
      using before = new Descriptor(openSync(path, 'r+'));
      const { undo } = await pool.rollback(`${name}@s1`, { force: true });
      writeSync(before.fd, patternBytes(8, MiB), 0, MiB, 0);
      expect(digest(path)).toBe(state(1));
      expect(digest(await pool.diskPath(undo ?? ''))).toBe(state(4));
      expect(() => writeAt(path, patternBytes(9, 4096), 0)).not.toThrow();
    },
  );

  needs('snapshots')('keeps also what was written and not yet flushed', async () => {
    const { pool } = suite;
    const { name, path } = await prepared();
    using descriptor = new Descriptor(openSync(path, 'r+'));
    writeSync(descriptor.fd, patternBytes(10, MiB), 0, MiB, 0);
    const { undo } = await pool.rollback(`${name}@s1`, { force: true });
    expect(digest(await pool.diskPath(undo ?? ''))).toBe(state(10));
  });

  needs('files')('brings back a disk that somebody deleted', async () => {
    const { pool } = suite;
    const { name, path } = await prepared();
    unlinkSync(path);
    expect((await pool.show(name)).problems.join()).toMatch(/gone/);
    await refusal(() => pool.clone(name, suite.name()), 'damaged');
    expect(await pool.rollback(`${name}@s3`)).not.toHaveProperty('undo');
    expect(digest(path)).toBe(state(3));
    expect(await pool.show(name)).toMatchObject({ snapshots: 3, problems: [] });
  });

  needs('files')('brings back the whole data that somebody deleted', async () => {
    const { pool } = suite;
    const { name, path } = await prepared();
    suite.backend.tools.removeData(path);
    expect(await pool.rollback(`${name}@s3`)).not.toHaveProperty('undo');
    expect(digest(path)).toBe(state(3));
    expect(await pool.show(name)).toMatchObject({ snapshots: 3, problems: [] });
  });

  needs('wholeDirectories')(
    'keeps what somebody has made of a disk that is not there under its name',
    async () => {
      const { pool } = suite;
      const { name, path } = await prepared();
      renameSync(path, `${path}.old`);
      const { undo } = await pool.rollback(`${name}@s3`);
      expect(digest(path)).toBe(state(3));
      const kept = join(suite.home.path, 'volumes', name, 'snapshots', undo?.split('@')[1] ?? '', 'data');
      expect(digest(join(kept, 'disk.raw.old'))).toBe(state(4));
      await refusal(() => pool.rollback(undo ?? ''), 'damaged'); // it has no disk to go back to
      expect(digest(path)).toBe(state(3));
    },
  );

  test('of nothing, to nothing and without a snapshot is refused', async () => {
    const { name } = await suite.volume();
    await refusal(() => suite.pool.rollback('never-made@s'), 'not_found');
    await refusal(() => suite.pool.rollback(`${name}@never`), 'not_found');
    await refusal(() => suite.pool.rollback(name), 'invalid_argument');
  });

  needs('treeVolumes')('of a directory tree', async () => {
    const { pool } = suite;
    const name = suite.name('tree');
    await pool.create(name, { kind: 'tree' });
    const path = await pool.diskPath(name);
    const file = join(path, 'file');
    for (const round of [1, 2, 3]) {
      writeFileSync(file, `state ${round}`);
      await pool.snapshot(`${name}@s${round}`);
    }
    writeFileSync(file, 'state 4');
    {
      await using user = await holdOpen(file);
      const { blockers } = await refusal(() => pool.rollback(`${name}@s2`), 'blocked');
      expect(blockers[0]?.what).toContain(`process ${user.pid}`);
    }
    if (suite.backend.traits.switchesMounts !== true) {
      const elsewhere = scratchDirectory('elsewhere');
      runProgram('mount', ['--bind', path, elsewhere]);
      const { blockers: mounts } = await refusal(() => pool.rollback(`${name}@s2`), 'blocked');
      runProgram('umount', [elsewhere]);
      expect(mounts[0]?.what).toContain(elsewhere);
      expect(readFileSync(file, 'utf8')).toBe('state 4');
    }

    const { undo = '' } = await pool.rollback(`${name}@s2`);
    expect(await pool.diskPath(name)).toBe(path);
    expect(readFileSync(file, 'utf8')).toBe('state 2');
    await pool.rollback(`${name}@s3`);
    expect(readFileSync(file, 'utf8')).toBe('state 3');
    await pool.rollback(undo);
    expect(readFileSync(file, 'utf8')).toBe('state 4');
    expect((await pool.listSnapshots(name)).map((each) => each.name)).toEqual(
      expect.arrayContaining(['s1', 's2', 's3']),
    );
    expect(await pool.show(name)).toMatchObject({ kind: 'tree', path, problems: [] });
    await pool.remove(name, { withSnapshots: true });
    expect(existsSync(path)).toBe(false);
  });
});
