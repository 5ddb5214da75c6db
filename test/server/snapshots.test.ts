import { chmodSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Timestamp, timestampFromMs } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError } from '@connectrpc/connect';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  BadRequestSchema,
  BlockerKind,
  BlockersSchema,
  Consistency,
  type CoppiceClient,
  connectCoppice,
  EventType,
  TreePlaceKind,
  VerificationResult,
  VolumeKind,
} from '../../src/client/index.ts';
import type { Pool } from '../../src/index.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { scratchDirectory } from '../support/devices.ts';
import { remark } from '../support/inside-pool.ts';
import { startTestServer, type TestServer } from '../support/test-server.ts';

/** What is said of a snapshot, asked of one, and kept about one; and of trees, what a disk does not have. */

const parent = 'pools/vms/volumes/v';
const hour = 3600 * 1000;
let home: TestServer;
let pool: Pool;
let client: CoppiceClient;
let volumes: CoppiceClient['volumes'];

beforeAll(async () => {
  home = await startTestServer();
  pool = home.pools['vms'] as Pool;
  client = connectCoppice({ socket: home.socket });
  volumes = client.volumes;
  await pool.create('v', { bytes: 4096 });
});
afterAll(async () => {
  client.close();
  await home[Symbol.asyncDispose]();
});

async function failure(call: Promise<unknown>): Promise<ConnectError> {
  return call.then(
    () => {
      throw new Error('It did not fail.');
    },
    (error: unknown) => ConnectError.from(error),
  );
}

async function refusedField(call: Promise<unknown>): Promise<string> {
  const error = await failure(call);
  expect(Code[error.code], error.message).toBe('InvalidArgument');
  const [details] = error.findDetails(BadRequestSchema);
  return details?.fieldViolations.map(({ field }) => field).join() ?? '';
}

/** A program of the user's own, which brings to rest what runs on a volume, or fails. */
function hookThat(ends: 'succeeds' | 'fails'): string {
  const path = join(scratchDirectory('hook'), 'hook');
  writeFileSync(path, ends === 'fails' ? '#!/bin/sh\nexit 7\n' : '#!/bin/sh\nexit 0\n');
  chmodSync(path, 0o755);
  return path;
}

describe('the level', () => {
  test('is the one that is asked for', async () => {
    const level = async (consistency?: Consistency): Promise<Consistency> =>
      (await volumes.snapshot({ parent, ...(consistency && { consistency }) })).consistency;
    expect(await level()).toBe(Consistency.SYNC);
    expect(await level(Consistency.NONE)).toBe(Consistency.NONE);
    await pool.set('v', { consistency: 'none' });
    expect(await level()).toBe(Consistency.NONE);
    expect(await level(Consistency.SYNC)).toBe(Consistency.SYNC);
    await pool.set('v', { consistency: null });
  });

  test('says on what it rests', async () => {
    await pool.create('hooked', { bytes: 4096 });
    await pool.set('hooked', { 'quiesce.hook': hookThat('succeeds') });
    const taken = await volumes.snapshot({ parent: 'pools/vms/volumes/hooked', snapshotId: 's' });
    const applications = [{ name: 'hook', consistency: Consistency.APPLICATION, recovery: 'none' }];
    expect(taken).toMatchObject({ consistency: Consistency.APPLICATION, applications, weakerReason: '' });
    expect(taken.restDuration).toBeDefined();
    // How that went is told once; what the snapshot is, always.
    const kept = await volumes.getSnapshot({ name: taken.name });
    expect(kept).toMatchObject({ consistency: Consistency.APPLICATION, applications });
    expect(kept.restDuration).toBeUndefined();
    const { snapshots } = await volumes.snapshotGroup({
      parent: 'pools/vms',
      volumes: ['pools/vms/volumes/hooked', parent],
      snapshotId: 'both',
      expireTime: timestampFromMs(Date.now() + hour),
    });
    expect(snapshots).toMatchObject([{ applications }, { consistency: Consistency.SYNC, applications: [] }]);
    for (const each of snapshots) expect([each.restDuration, each.expireTime]).not.toContain(undefined);
  });

  test('that can not be reached makes no snapshot, unless a weaker one is allowed, which says why', async () => {
    await pool.create('failing', { bytes: 4096 });
    const hook = hookThat('fails');
    await pool.set('failing', { 'quiesce.hook': hook });
    const request = { parent: 'pools/vms/volumes/failing', snapshotId: 's' };
    expect((await failure(volumes.snapshot(request))).rawMessage).toContain('hook');
    expect(await pool.listSnapshots('failing')).toEqual([]);
    // Whether it fails when it is asked to hold still, or can't even be asked.
    for (const snapshotId of ['fails', 'gone']) {
      const taken = await volumes.snapshot({ ...request, snapshotId, allowWeaker: true });
      expect(taken.consistency).toBe(Consistency.SYNC);
      expect(taken.weakerReason).toContain('hook');
      rmSync(hook, { force: true });
    }
    const group = await volumes.snapshotGroup({
      parent: 'pools/vms',
      volumes: [request.parent, parent],
      allowWeaker: true,
    });
    expect(group.snapshots[0]?.weakerReason).toContain('hook');
  });

  test('is not asked for beside the freeze of a guest, which decides it', async () => {
    const freeze = { guestAgentSocket: '/nowhere' };
    const call = volumes.snapshot({ parent, freeze, consistency: Consistency.SYNC });
    expect(await refusedField(call)).toBe('consistency');
  });
});

describe('the expiry', () => {
  test('is kept, and told', async () => {
    const expireTime = timestampFromMs(Date.parse('2100-01-31T12:00:00.123Z'));
    const { name } = await volumes.snapshot({ parent, snapshotId: 'expires', expireTime });
    expect((await volumes.getSnapshot({ name })).expireTime).toEqual(expireTime);
    expect((await pool.listSnapshots('v')).at(-1)).toMatchObject({ expires: '2100-01-31T12:00:00.123Z' });
  });

  test.each<[string, Pick<Timestamp, 'seconds' | 'nanos'>]>([
    ['now', timestampFromMs(Date.now())],
    ['1970', { seconds: 0n, nanos: 0 }],
    ['the year 10000', { seconds: 253_402_300_800n, nanos: 0 }],
    ['more than a date can say', { seconds: BigInt(Number.MAX_SAFE_INTEGER), nanos: 0 }],
  ])('can not be %s', async (_, time) => {
    const expireTime = { $typeName: 'google.protobuf.Timestamp', ...time } as const;
    const before = await pool.listSnapshots('v');
    expect(await refusedField(volumes.snapshot({ parent, expireTime }))).toBe('expire_time');
    expect(await pool.listSnapshots('v')).toEqual(before);
  });
});

describe('a hold', () => {
  const name = `${parent}/snapshots/held`;

  test('has a snapshot stay until it is released, for everybody', async () => {
    await pool.snapshot('v@held');
    const held = await volumes.holdSnapshot({ name, reason: 'until the audit is over' });
    expect(held).toMatchObject({ name, hold: { reason: 'until the audit is over' } });
    expect(held.hold?.createTime).toBeDefined();
    const error = await failure(volumes.deleteSnapshot({ name, force: true }));
    expect(error.code).toBe(Code.FailedPrecondition);
    const [{ blockers } = { blockers: [] }] = error.findDetails(BlockersSchema);
    expect(blockers).toMatchObject([{ kind: BlockerKind.HELD }]);
    // Once more keeps its time, and its reason unless another is given.
    expect(await volumes.holdSnapshot({ name })).toEqual(held);
    expect((await volumes.holdSnapshot({ name, reason: 'for ever' })).hold).toEqual({
      ...held.hold,
      reason: 'for ever',
    });
    expect((await volumes.releaseSnapshot({ name })).hold).toBeUndefined();
    expect((await volumes.releaseSnapshot({ name })).hold).toBeUndefined();
    await volumes.deleteSnapshot({ name });
  });

  test('that is asked for twice with one id is that of the first', async () => {
    await pool.snapshot('v@held');
    const request = { name, requestId: 'hold-once' };
    const held = await volumes.holdSnapshot(request);
    await pool.release('v@held');
    expect(await volumes.holdSnapshot(request)).toEqual(held);
    expect((await pool.listSnapshots('v')).at(-1)).not.toHaveProperty('hold');
    await pool.remove('v@held');
  });

  test('is refused with a reason of several lines, and of what is not there', async () => {
    await pool.snapshot('v@held');
    expect(await refusedField(volumes.holdSnapshot({ name, reason: 'a\nb' }))).toBe('reason');
    expect(await refusedField(volumes.holdSnapshot({ name, reason: 'a'.repeat(201) }))).toBe('reason');
    const missing = { name: `${parent}/snapshots/nowhere` };
    expect((await failure(volumes.holdSnapshot(missing))).code).toBe(Code.NotFound);
    expect((await failure(volumes.releaseSnapshot(missing))).code).toBe(Code.NotFound);
    await pool.remove('v@held');
  });

  test('is told by events', async () => {
    const { name: told } = await volumes.snapshot({ parent, snapshotId: 'told' });
    const types: EventType[] = [];
    const watching = new AbortController();
    try {
      for await (const { events } of client.events.watchEvents({ parent: 'pools/vms' }, watching)) {
        for (const { type, resource } of events) {
          if (resource.case !== 'snapshot' || resource.value.name !== told) continue;
          // It may be known to the server a moment later than it is there.
          if (types.length === 0) await volumes.holdSnapshot({ name: told });
          types.push(type);
          if (resource.value.hold) watching.abort();
        }
      }
    } catch (error) {
      expect(ConnectError.from(error).code).toBe(Code.Canceled);
    }
    expect(types).toEqual([EventType.ADDED, EventType.CHANGED]);
    await pool.release('v@told');
  });
});

test('what was proven is told with the snapshot', async () => {
  await pool.snapshot('v@proven');
  const verified = {
    at: '2026-11-21T03:00:00.000Z',
    result: 'failed',
    checks: [
      { name: 'postgres starts', result: 'passed' },
      { name: 'program', result: 'failed', message: 'no' },
    ],
  } as const;
  await remark(pool.path, 'v@proven', (metadata) => ({ ...metadata, verified }));
  const { verification } = await volumes.getSnapshot({ name: `${parent}/snapshots/proven` });
  expect(verification).toMatchObject({
    verifyTime: timestampFromMs(Date.parse(verified.at)),
    result: VerificationResult.FAILED,
    checks: [
      { name: 'postgres starts', result: VerificationResult.PASSED, message: '' },
      { name: 'program', result: VerificationResult.FAILED, message: 'no' },
    ],
  });
});

describe('a directory tree', () => {
  const tree = { parent: 'pools/vms', kind: VolumeKind.TREE };

  test('has an owner, a mode, and directories that are overwritten in place', async () => {
    const { name } = await volumes.createVolume({
      ...tree,
      volumeId: 'owned',
      owner: 'nobody:daemon',
      mode: 0o2750,
      nodatacowDirectories: ['var/db'],
    });
    const { path, kind } = await volumes.getVolume({ name });
    expect(kind).toBe(VolumeKind.TREE);
    expect(statSync(path).mode & 0o7777).toBe(0o2750);
    expect(statSync(path)).toMatchObject({ uid: 65_534, gid: 1 });
    expect(runProgram('lsattr', ['-d', '--', join(path, 'var/db')])).toMatch(/^-*C/);
  });

  test.each([
    ['owner', { owner: 'nobody-knows-him' }],
    ['owner', { owner: 'a:b:c' }],
    ['nodatacow_directories', { nodatacowDirectories: ['../out'] }],
    ['nodatacow_directories', { nodatacowDirectories: ['/etc'] }],
    ['mode', { mode: 0o10000 }],
    ['size_bytes', { sizeBytes: 4096n }],
    ['mode', { kind: VolumeKind.DISK, sizeBytes: 4096n, mode: 0o700 }],
    ['owner', { kind: VolumeKind.DISK, sizeBytes: 4096n, owner: 'root' }],
    ['nodatacow_directories', { kind: VolumeKind.DISK, sizeBytes: 4096n, nodatacowDirectories: ['db'] }],
  ])('with a wrong %s is refused', async (field, wrong) => {
    expect(await refusedField(volumes.createVolume({ ...tree, volumeId: 'wrong', ...wrong }))).toBe(field);
    expect((await pool.list()).map(({ name }) => name)).not.toContain('wrong');
  });

  test('says where it is', async () => {
    await pool.create('placed', { kind: 'tree' });
    const directory = join(scratchDirectory('places'), 'data');
    mkdirSync(directory);
    await pool.mount('placed', directory, { persist: false });
    try {
      const place = { path: directory, kind: TreePlaceKind.MOUNT, boot: '' };
      expect(await volumes.getVolume({ name: 'pools/vms/volumes/placed' })).toMatchObject({ place });
      const { volumes: listed } = await volumes.listVolumes({ parent: 'pools/vms' });
      expect(listed.find(({ name }) => name.endsWith('/placed'))).toMatchObject({ place });
    } finally {
      await pool.unmount('placed');
    }
    expect((await volumes.getVolume({ name: 'pools/vms/volumes/placed' })).place).toBeUndefined();
  });
});

test('a change that is being tried is told with its volume', async () => {
  await pool.guard('v', async () => {
    const { guards } = await volumes.getVolume({ name: parent });
    expect(guards).toMatchObject([{ alive: true, begun: true, failed: false }]);
    expect((await volumes.getSnapshot({ name: guards[0]?.snapshot ?? '' })).reason).not.toBe(0);
  });
  expect((await volumes.getVolume({ name: parent })).guards).toEqual([]);
});
