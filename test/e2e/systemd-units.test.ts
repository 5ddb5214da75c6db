import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectCoppice } from '../../src/client/index.ts';
import { unitName } from '../../src/engine/pools/mount-unit.ts';
import { builtCommand } from '../support/built.ts';
import { scratchDirectory } from '../support/devices.ts';
import { type LivingSystemd, livingSystemd, withoutSystemd } from '../support/living-systemd.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';

/** What coppice writes for systemd, under one that lives. */
describe.skipIf(withoutSystemd !== '')(`what is written for a living systemd${withoutSystemd}`, () => {
  let home: TestPool;
  let systemd: LivingSystemd;

  const coppice = (...words: string[]): string =>
    systemd.done(process.execPath, builtCommand(), ...words, '--pool', home.path);
  const systemctl = (...words: string[]): string => systemd.done('systemctl', ...words);
  const inside = (path: string): string => readFileSync(join(systemd.root, path), 'utf8');

  beforeAll(async () => {
    home = await makeTestPool();
    systemd = await livingSystemd();
  });
  afterAll(async () => {
    await systemd?.[Symbol.asyncDispose]();
    await home?.[Symbol.asyncDispose]();
  });

  test.for(['--systemd', '--fstab'] as const)('a tree is mounted by %s', async (how) => {
    const name = how.slice(2);
    const at = join(scratchDirectory('at'), 'a tree');
    const unit = unitName(at);
    await home.pool.create(name, { kind: 'tree' });
    writeFileSync(join(await home.pool.diskPath(name), 'state'), '1');
    await home.pool.snapshot(`${name}@s`);
    writeFileSync(join(await home.pool.diskPath(name), 'state'), '2');
    const told = coppice('mount', name, at, ...(how === '--systemd' ? [how] : []));
    systemctl('daemon-reload');
    if (how === '--systemd') {
      expect(told).toContain('systemctl daemon-reload && systemctl enable ');
      systemctl('enable', unit);
    }
    const mounted = (): string[] => [
      systemd.property(unit, 'LoadState'),
      systemd.property(unit, 'ActiveState'),
    ];
    const source = how === '--systemd' ? `/etc/systemd/system/${unit}` : '/etc/fstab';
    expect([
      ...mounted(),
      systemd.property(unit, how === '--systemd' ? 'FragmentPath' : 'SourcePath'),
      systemd.property(unit, 'RequiresMountsFor').includes(home.path),
      inside(join(at, 'state')),
    ]).toEqual(['loaded', 'active', source, true, '2']);
    // It stays what it is when the tree is another one.
    coppice('rollback', `${name}@s`);
    systemctl('daemon-reload');
    expect([...mounted(), inside(join(at, 'state'))]).toEqual(['loaded', 'active', '1']);
    // A service that carries the line that was printed has it mounted when it needs it.
    systemctl('stop', unit);
    expect(mounted()).toEqual(['loaded', 'inactive']);
    const line = told.trimEnd().split('\n').at(-1) ?? '';
    systemd.load({
      'needs.service': `[Unit]\n${line.trim()}\n[Service]\nExecStart=/usr/bin/sleep infinity\n`,
    });
    systemctl('start', 'needs.service');
    expect([...mounted(), inside(join(at, 'state'))]).toEqual(['loaded', 'active', '1']);
    systemctl('stop', 'needs.service');
    coppice('unmount', name);
    systemctl('daemon-reload');
    expect(mounted()).toEqual(['not-found', 'inactive']);
  });

  test('the timers of policies are in order, and have them applied and snapshots proven', async () => {
    await home.pool.create('kept', { bytes: 2 ** 20 });
    await home.pool.set('kept', { 'policy.hourly': '2' });
    coppice('policy', 'install');
    for (const name of ['coppice-policy', 'coppice-verify']) {
      const [service, timer] = [`${name}.service`, `${name}.timer`];
      expect(systemd.run('systemd-analyze', 'verify', '--man=no', service, timer)).toEqual({
        code: 0,
        stdout: '',
        stderr: '',
      });
      // As it is, but for the time.
      const own = join(systemd.root, `etc/systemd/system/${timer}.d`);
      mkdirSync(own);
      writeFileSync(join(own, 'now.conf'), '[Timer]\nOnCalendar=\nOnActiveSec=1ms\nRandomizedDelaySec=0\n');
      systemctl('daemon-reload');
      systemctl('enable', '--now', timer);
      const ended = (): string => systemd.property(service, 'ExecMainExitTimestampMonotonic');
      while (ended() === '0') await new Promise((resolve) => setTimeout(resolve, 50));
      expect(
        ['Result', 'ExecMainStatus', 'TriggeredBy'].map((what) => systemd.property(service, what)),
        systemd.console(),
      ).toEqual(['success', '0', timer]);
      systemctl('disable', '--now', timer);
    }
    expect(await home.pool.listSnapshots('kept')).toMatchObject([{ reason: 'policy' }]);
  });

  test('the daemon is started by its socket, and says when it is ready', async () => {
    systemd.done(process.execPath, builtCommand(), 'serve', '--install', '--pool', `vms=${home.path}`);
    expect(systemd.run('systemd-analyze', 'verify', '--man=no', 'coppice.socket', 'coppice.service')).toEqual(
      {
        code: 0,
        stdout: '',
        stderr: '',
      },
    );
    systemctl('daemon-reload');
    systemctl('enable', '--now', 'coppice.socket');
    const state = (name: string): string => systemd.property('coppice.service', name);
    expect(state('ActiveState')).toBe('inactive');
    const list = async (): Promise<readonly string[]> => {
      using client = connectCoppice({ socket: join(systemd.root, 'run/coppice/coppice.sock') });
      return (await client.pools.listPools({})).pools.map(({ name }) => name);
    };
    expect(await list()).toEqual(['pools/vms']);
    expect(['ActiveState', 'SubState', 'StatusText'].map(state)).toEqual([
      'active',
      'running',
      'Serving vms',
    ]);
    const first = state('MainPID');
    systemctl('kill', '--signal=KILL', 'coppice.service');
    systemctl('stop', 'coppice.service');
    expect(await list()).toEqual(['pools/vms']);
    expect(state('MainPID')).not.toBe(first);
    systemctl('stop', 'coppice.socket', 'coppice.service');
    expect(state('Result')).toBe('success');
  });
});
