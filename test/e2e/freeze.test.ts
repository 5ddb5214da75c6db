import { chmodSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Descriptor } from '../../src/linux/files.ts';
import { lock } from '../../src/linux/locks.ts';
import { repository } from '../support/built.ts';
import { type AgentHabits, type FakeAgent, fakeAgent } from '../support/fake-agent.ts';
import { coppice, type Ran, startCoppice } from './command.ts';
import { commandLinePool, done, refused } from './session.ts';

const { pool } = commandLinePool();

describe('snapshot --freeze', () => {
  beforeAll(() => {
    for (const name of ['vm-1', 'vm-2']) done(coppice(pool, 'clone', 'base', name));
  });

  /** Whatever happened: the guest is thawed, nobody watches over it any more, and no snapshot says what is not true. */
  let agent: FakeAgent | undefined;
  const expecting: string[] = [];
  afterEach(async () => {
    for (let tries = 0; tries < 500 && (agent?.isFrozen || watchdogs().length > 0); tries++) await delay(20);
    expect(agent?.isFrozen).toBe(false);
    await agent?.[Symbol.asyncDispose]();
    for (let tries = 0; tries < 500 && watchdogs().length > 0; tries++) await delay(20);
    expect(watchdogs()).toEqual([]);
    expect(snapshots()).toEqual(expecting);
  });

  const meet = async (habits: AgentHabits = {}): Promise<FakeAgent> => {
    agent = await fakeAgent(habits);
    return agent;
  };
  const snapshot = (...args: readonly string[]): Promise<Ran> =>
    startCoppice(pool, 'snapshot', ...args, '--freeze', `qemu-ga:${agent?.socket}`).ended;
  const snapshots = (): string[] =>
    ['vm-1', 'vm-2']
      .flatMap((name) => JSON.parse(done(coppice(pool, 'show', name, '--json'))).snapshotList)
      .map(({ reference, consistency }: Record<string, string>) => `${reference} ${consistency}`)
      .sort();

  test('is refused without a guest that could be meant', async () => {
    await meet();
    refused(coppice(pool, 'snapshot', 'vm-1', '--freeze', 'guest'), 2);
    refused(coppice(pool, 'snapshot', 'vm-1', '--freeze-timeout', '5'), 2);
    for (const seconds of ['0', 'x', '-1', '1e9'])
      refused(await snapshot('vm-1', `--freeze-timeout=${seconds}`), 2);
    expect(agent?.asked).toEqual([]);
  });

  test('the socket in a directory that others can write to is refused by name', async () => {
    const directory = dirname((await meet()).socket);
    chmodSync(directory, 0o777);
    expect(refused(await snapshot('vm-1'), 2)).toContain(directory);
    expect(agent?.asked).toEqual([]);
  });

  test.each<readonly [string, AgentHabits, RegExp]>([
    ['refuses', { refuses: true }, /No snapshot was taken, and the guest is thawed: .* failed to freeze/],
    ['has nothing to freeze', { fileSystems: 0 }, /no file system to freeze/],
    ['thaws by itself', { thawsByItself: true }, /thawed before the snapshot was complete/],
    ['thaws fewer than it froze', { claimsThawed: 1 }, /froze 2 file systems and thawed only 1/],
    [
      'never answers at all',
      { silentTo: ['guest-sync-delimited'] },
      /Nothing was frozen .* no answer in 1 s/,
    ],
    [
      'never says that it has frozen',
      { silentTo: ['guest-fsfreeze-freeze'] },
      /guest is thawed: .*more than 1 s/,
    ],
    [
      'never says whether it is frozen',
      { silentTo: ['guest-fsfreeze-status'] },
      /guest is thawed: .*more than 1 s/,
    ],
    ['hangs up', { hangsUp: true }, /agent has hung up: look whether it writes/],
  ])('of an agent that %s leaves no snapshot', async (what, habits, sentence) => {
    await meet(habits);
    expect(refused(await snapshot('vm-1@frozen', '--freeze-timeout', '1'), 1)).toMatch(sentence);
    // A channel that is closed takes no thaw any more; the guest of this one would stay frozen.
    if (what === 'hangs up') await thawOtherwise(agent);
  });

  test('a snapshot that fails thaws the guest, too', async () => {
    await meet();
    expect(refused(await snapshot('vm-9'), 3)).toContain('and the guest is thawed: There is no volume');
    expect(agent?.asked).toContain('guest-fsfreeze-freeze');
  });

  test('ends in time where the volume is held by others', async () => {
    const { wasAsked } = await meet();
    using _held = hold('vm-1');
    const ran = snapshot('vm-1@frozen', '--freeze-timeout', '1');
    await wasAsked('guest-fsfreeze-thaw');
    expect(refused(await ran, 1)).toMatch(/No snapshot was taken, and the guest is thawed: .*time was over/);
  });

  test('a command that is killed leaves the guest thawed', async () => {
    const { wasAsked } = await meet();
    using _held = hold('vm-1');
    const { process, ended } = startCoppice(
      pool,
      ...['snapshot', 'vm-1@frozen', '--freeze', `qemu-ga:${agent?.socket}`, '--freeze-timeout', '600'],
    );
    await wasAsked('guest-fsfreeze-freeze');
    expect(agent?.isFrozen).toBe(true);
    process.kill('SIGKILL');
    await ended;
    await wasAsked('guest-fsfreeze-thaw');
  });

  test('a command that is stopped leaves the guest thawed, and claims nothing when it goes on', async () => {
    const { wasAsked } = await meet();
    const held = hold('vm-1');
    const { process, ended } = startCoppice(
      pool,
      ...['snapshot', 'vm-1@frozen', '--freeze', `qemu-ga:${agent?.socket}`, '--freeze-timeout', '3'],
    );
    await wasAsked('guest-fsfreeze-freeze');
    process.kill('SIGSTOP');
    await wasAsked('guest-fsfreeze-thaw');
    held[Symbol.dispose]();
    process.kill('SIGCONT');
    refused(await ended, 1);
  });

  test('says that the guest was frozen, and for how long', async () => {
    await meet();
    const told = done(await snapshot('vm-1@frozen'));
    expect(told).toMatch(
      /^Took snapshot vm-1@frozen\.\nThe guest was frozen for \d+ ms \(2 file systems\), and is thawed\.\n$/,
    );
    expecting.push('vm-1@frozen freeze');
    expect(agent?.asked).toEqual([
      'guest-sync-delimited',
      'guest-fsfreeze-freeze',
      'guest-fsfreeze-status',
      'guest-fsfreeze-thaw',
    ]);
  });

  test('takes several volumes of a guest in one freeze', async () => {
    await meet();
    const told = JSON.parse(done(await snapshot('vm-1', 'vm-2', '--name', 'both', '--json')));
    expect(told).toMatchObject({
      snapshots: [{ consistency: 'freeze' }, { consistency: 'freeze' }],
      frozenFileSystems: 2,
      frozenMilliseconds: expect.any(Number),
    });
    expect(agent?.asked.filter((each) => each === 'guest-fsfreeze-freeze')).toHaveLength(1);
    expecting.push('vm-1@both freeze', 'vm-2@both freeze');
    expecting.sort();
  });

  function hold(name: string): Descriptor {
    const path = done(coppice(pool, 'path', name)).trim();
    const held = new Descriptor(openSync(dirname(dirname(path)), 'r'));
    expect(lock(held.fd, 'exclusive', false)).toBe(true);
    return held;
  }
});

/** The processes of this checkout that would thaw a guest. */
function watchdogs(): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      return /^\d+$/.test(pid) && command.includes('thaw-watchdog') && command.includes(repository);
    } catch {
      return false;
    }
  });
}

async function thawOtherwise(agent: FakeAgent | undefined): Promise<void> {
  const { connect } = await import('node:net');
  const connection = connect(agent?.socket ?? '');
  connection.write('{"execute":"guest-fsfreeze-thaw"}\n');
  await agent?.wasAsked('guest-fsfreeze-thaw');
  connection.destroy();
}
