import { once } from 'node:events';
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { runProgram } from '../../src/linux/programs.ts';
import { builtCommand } from '../support/built.ts';
import { scratchDirectory } from '../support/devices.ts';
import { type LivingSystemd, livingSystemd, type Output, withoutSystemd } from '../support/living-systemd.ts';
import { makeTestPool, type TestPool } from '../support/test-pool.ts';

/** Units that coppice stops and starts, with a server in each that writes into its tree when it has started and when it has stopped. */
describe.skipIf(withoutSystemd !== '')(`units of a living systemd${withoutSystemd}`, () => {
  let home: TestPool;
  let systemd: LivingSystemd;
  let data: string;

  const coppice = (...words: string[]): Output =>
    systemd.run(process.execPath, builtCommand(), ...words, '--pool', home.path);
  const done = (...words: string[]): string => {
    const { code, stdout, stderr } = coppice(...words);
    expect([code, stderr], words.join(' ')).toEqual([0, '']);
    return stdout;
  };
  const json = (...words: string[]): unknown => JSON.parse(done(...words, '--json'));
  const refused = (code: number, ...words: string[]): string => {
    const ran = coppice(...words);
    expect(ran.code, ran.stdout).toBe(code);
    return ran.stderr;
  };
  const state = (unit = 'db.service'): string => systemd.property(unit, 'ActiveState');
  const log = async (reference = 'db'): Promise<string[]> =>
    readFileSync(join(await home.pool.diskPath(reference), 'log'), 'utf8')
      .trim()
      .split('\n');
  const snapshots = async (): Promise<string[]> =>
    (await home.pool.listSnapshots('db')).map(({ name }) => name);

  beforeAll(async () => {
    home = await makeTestPool();
    await home.pool.create('db', { kind: 'tree' });
    data = await home.pool.diskPath('db');
    systemd = await livingSystemd();
    done('set', 'db', 'stop.unit=db.service');
  });
  afterAll(async () => {
    await systemd?.[Symbol.asyncDispose]();
    await home?.[Symbol.asyncDispose]();
  });

  /** A server that ends when it is told to, unless it is to be deaf. */
  function service(extra = '', deaf = false): string {
    const script = join(scratchDirectory('server'), 'server');
    const onEnd = deaf ? "''" : "'echo stopped >&9; exit 0'";
    writeFileSync(
      script,
      `#!/bin/sh
cd ${data} && exec 9>>log && echo started >&9 || exit 1
trap ${onEnd} TERM
systemd-notify --ready
while :; do sleep 1000 & wait; done
`,
    );
    chmodSync(script, 0o755);
    return `[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
NotifyAccess=all
ExecStart=${script}
${extra}
`;
  }

  beforeEach(async () => {
    systemd.run('systemctl', 'stop', 'db.service');
    for (const reference of (await snapshots()).map((name) => `db@${name}`))
      await home.pool.remove(reference);
    for (const file of ['log', 'broken']) rmSync(join(data, file), { force: true });
    systemd.load({ 'db.service': service() });
    systemd.run('systemctl', 'reset-failed');
    systemd.done('systemctl', 'start', 'db.service');
  });

  test('a cold snapshot is taken while the unit is stopped, and of one that does not run as it is', async () => {
    expect(json('snapshot', 'db@cold', '--consistency', 'cold')).toMatchObject({
      consistency: 'cold',
      applications: [{ name: 'stop.unit', recovery: 'none', details: { unit: 'db.service' } }],
    });
    expect(await log('db@cold')).toEqual(['started', 'stopped']);
    expect([state(), await log()]).toEqual(['active', ['started', 'stopped', 'started']]);
    systemd.done('systemctl', 'stop', 'db.service');
    expect(json('snapshot', 'db@off', '--consistency', 'cold')).toMatchObject({ consistency: 'cold' });
    expect([state(), await log()]).toEqual(['inactive', await log('db@off')]);
  });

  test('it is started again when there is no snapshot after all', async () => {
    // Somebody else is in the tree.
    const other = systemd.start('sh', '-c', `cd ${data} && echo there && read -r _`);
    await once(other.stdout ?? other, 'data');
    expect(refused(5, 'snapshot', 'db@no', '--consistency', 'cold')).toContain('still in use');
    expect([state(), await log()]).toEqual(['active', ['started', 'stopped', 'started']]);
    other.stdin?.end();
    await once(other, 'exit');
    // What another volume is stopped by fails.
    const hook = join(scratchDirectory('hook'), 'hook');
    writeFileSync(hook, '#!/bin/sh\n[ "$1" = start ]\n', { mode: 0o755 });
    done('create', 'other', '--size', '1M');
    done('set', 'other', `stop.hook=${hook}`);
    expect(refused(1, 'snapshot', 'db', 'other', '--name', 'no', '--consistency', 'cold')).toContain(
      'stop.hook',
    );
    expect([state(), await snapshots()]).toEqual(['active', []]);
    done('remove', 'other');
  });

  test('it is started again when coppice is killed', async () => {
    const stopping = join(scratchDirectory('pipe'), 'stopping');
    const goOn = join(scratchDirectory('pipe'), 'go-on');
    runProgram('mkfifo', [stopping, goOn]);
    const wait = `echo now > ${stopping}; read -r _ < ${goOn}`;
    systemd.load({ 'db.service': service(`ExecStop=/bin/sh -c '${wait}'`) });
    const command = [process.execPath, builtCommand(), 'snapshot', 'db@no', '--consistency', 'cold'];
    const killed = systemd.start('sh', '-c', 'echo $$; exec "$@"', 'sh', ...command, '--pool', home.path);
    const [pid] = (await once(killed.stdout ?? killed, 'data')) as [Buffer];
    await readFile(stopping);
    systemd.done('kill', '-KILL', pid.toString().trim());
    await once(killed, 'exit');
    await writeFile(goOn, 'go on\n');
    // A process of its own sees to it: there is nothing to wait for but that it has.
    while ((await log()).length < 3 || state() !== 'active')
      await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await log()).toEqual(['started', 'stopped', 'started']);
    await home.pool.list();
    expect(await snapshots()).toEqual([]);
    systemd.load({ 'db.service': service() });
  });

  test('a rollback stops and starts it, and what it replaced can be had back', async () => {
    writeFileSync(join(data, 'state'), '1');
    done('snapshot', 'db@one', '--consistency', 'sync');
    writeFileSync(join(data, 'state'), '2');
    expect(refused(5, 'rollback', 'db@one')).toContain('process ');
    const { undo = '' } = json('rollback', 'db@one', '--stop') as { undo?: string };
    expect(readFileSync(join(data, 'state'), 'utf8')).toBe('1');
    expect([state(), await log(), await log(undo)]).toEqual([
      'active',
      ['started', 'started'],
      ['started', 'stopped'],
    ]);
    done('rollback', undo, '--stop');
    expect([state(), readFileSync(join(data, 'state'), 'utf8')]).toEqual(['active', '2']);
  });

  test('one that does not stop in time was killed: no snapshot of what it has left is cold', async () => {
    systemd.done('systemctl', 'stop', 'db.service');
    systemd.load({ 'db.service': service('TimeoutStopSec=1', true) });
    systemd.done('systemctl', 'start', 'db.service');
    const why = refused(1, 'snapshot', 'db@no', '--consistency', 'cold');
    expect(why).toContain('db.service has not stopped by itself as it should (timeout)');
    expect([state(), await snapshots()]).toEqual(['active', []]);
    // A rollback replaces that anyway.
    done('snapshot', 'db@one', '--consistency', 'sync');
    done('rollback', 'db@one', '--stop');
    expect(state()).toBe('active');
    systemd.done('systemctl', 'kill', '--signal=KILL', 'db.service');
  });

  test('one that can not be started is told, and what was to be done is done', async () => {
    systemd.load({ 'db.service': service(`ExecStartPre=/usr/bin/test ! -e ${data}/broken`) });
    writeFileSync(join(data, 'broken'), '');
    done('snapshot', 'db@broken', '--consistency', 'sync');
    rmSync(join(data, 'broken'));
    const why = refused(1, 'rollback', 'db@broken', '--stop');
    expect(why).toContain(
      'db was rolled back to broken, and what runs on it could not be started: stop.unit: ',
    );
    expect(why).toContain('systemctl start -- db.service failed');
    expect([state(), existsSync(join(data, 'broken'))]).toEqual(['failed', true]);
    // It has failed, and nobody knows in which state it has left its files.
    expect(refused(1, 'snapshot', 'db@no', '--consistency', 'cold')).toContain('(exit-code)');
  });

  test('one that could not be started again is not stopped, and one that is not there is no reason to go on', async () => {
    systemd.done('systemctl', 'mask', 'db.service');
    const refusals = (): string[] => [
      refused(2, 'snapshot', 'db@no', '--consistency', 'cold'),
      refused(2, 'rollback', 'db@one', '--stop'),
    ];
    done('snapshot', 'db@one', '--consistency', 'sync');
    for (const why of refusals()) expect(why).toContain('systemctl unmask db.service');
    expect([state(), await log()]).toEqual(['active', ['started']]);
    systemd.done('systemctl', 'stop', 'db.service');
    done('snapshot', 'db@masked', '--consistency', 'cold');
    systemd.done('systemctl', 'unmask', 'db.service');
    systemd.done('systemctl', 'start', 'db.service');
    for (const wrong of ['never-made.service', 'never-made']) {
      done('set', 'db', `stop.unit=${wrong}`);
      for (const why of refusals()) expect(why).toContain('there is no such unit');
    }
    for (const wrong of ['*', 'a b', '--now'])
      expect(refused(2, 'set', 'db', `stop.unit=${wrong}`)).toContain('is no unit of systemd');
    done('set', 'db', 'stop.unit=db.service');
    expect(await snapshots()).toEqual(['one', 'masked']);
  });

  test('what systemd stops with it is started with it', async () => {
    systemd.load({
      'app.service': `[Unit]
Requires=db.service
After=db.service
[Service]
ExecStart=/usr/bin/sleep infinity
`,
      'part.service': `[Unit]
PartOf=app.service
After=app.service
[Service]
ExecStart=/usr/bin/sleep infinity
`,
      'idle.service': '[Unit]\nBindsTo=db.service\n[Service]\nExecStart=/usr/bin/sleep infinity\n',
    });
    systemd.done('systemctl', 'start', 'part.service', 'app.service');
    const processes = (): string[] => ['app', 'part'].map((name) => systemd.property(name, 'MainPID'));
    const before = processes();
    done('snapshot', 'db@cold', '--consistency', 'cold');
    expect(['db', 'app', 'part', 'idle'].map((name) => state(name))).toEqual([
      'active',
      'active',
      'active',
      'inactive',
    ]);
    for (const [index, pid] of processes().entries()) expect(pid).not.toBe(before[index]);
  });

  test('one can be frozen by its name', async () => {
    done('set', 'db', 'quiesce.freeze=unit=db.service');
    expect(json('snapshot', 'db@frozen')).toMatchObject({ consistency: 'freeze' });
    expect([state(), await log(), systemd.property('db.service', 'FreezerState')]).toEqual([
      'active',
      ['started'],
      'running',
    ]);
    done('set', 'db', 'quiesce.freeze=');
  });
});
