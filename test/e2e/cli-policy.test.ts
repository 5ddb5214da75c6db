import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { scratchDirectory } from '../support/devices.ts';
import { remark } from '../support/inside-pool.ts';
import { skippedWithout } from '../support/needs.ts';
import { coppice } from './command.ts';
import { commandLinePool, done, refused } from './session.ts';

const { pool } = commandLinePool();
const say = (...args: readonly string[]): string => done(coppice(pool, ...args));
const json = (...args: readonly string[]): never => JSON.parse(say(...args, '--json')) as never;

const day = 24 * 3600 * 1000;

/** As if it had been taken so long ago, by a policy. */
const age = (reference: string, milliseconds: number): Promise<void> =>
  remark(pool, reference, (metadata) => ({
    ...metadata,
    reason: 'policy',
    created: new Date(Date.now() - milliseconds).toISOString(),
  }));

test('a policy is set, shown, tried and followed', async () => {
  say('create', 'db', '--size', '1M');
  expect(coppice(pool, 'policy', 'show').stderr).toContain(
    'No volume has a policy; "coppice set VOLUME policy.hourly=24',
  );
  expect(say('policy', 'apply')).toBe('Nothing is due, and nothing is over.\n');
  say('set', 'db', 'policy.daily=2');
  for (const [index, name] of ['one', 'two', 'three'].entries()) {
    say('snapshot', `db@${name}`);
    await age(`db@${name}`, (5 - index) * day);
  }
  say('snapshot', 'db@mine');
  expect(say('policy', 'show')).toMatch(
    /^VOLUME +SCHEDULE +KEEPS +SNAPSHOTS +LAST\ndb +daily +2 daily +3 +\d{4}-\d\d-\d\d \d\d:\d\dZ\n$/,
  );
  const tried = say('policy', 'apply', '--dry-run');
  expect(tried).toMatch(
    /^SNAPSHOT +AGE +FATE +WHY\ndb@one +5d +goes +over 2 daily\ndb@two +4d +goes +over 2 daily\n/,
  );
  expect(tried).toMatch(/\ndb@three +3d +stays +daily \d{4}-\d\d-\d\d\n/);
  expect(tried).toMatch(/\ndb@mine +\d+(s|min) +stays +taken by hand\n/);
  expect(tried).toMatch(
    /\ndb@auto-\d{8}-\d{6} +new +taken +to be taken, the newest, daily \d{4}-\d\d-\d\d\n\nWould take 1 snapshot, and remove 2\.\n$/,
  );
  expect(json('policy', 'apply', '--dry-run')).toMatchObject({
    taken: [{ volume: 'db' }],
    removed: [
      { reference: 'db@one', reason: 'over 2 daily' },
      { reference: 'db@two', reason: 'over 2 daily' },
    ],
  });
  expect(say('hold', 'db@one', '--reason', 'until the audit')).toBe('Holding db@one: until the audit.\n');
  expect(say('hold', 'db@one')).toBe('db@one is held already: until the audit.\n');
  expect(say('policy', 'apply', 'db')).toMatch(/^Took db@auto-\d{8}-\d{6}\.\nRemoved db@two\.\n$/);
  expect(say('policy', 'apply')).toBe('Nothing is due, and nothing is over.\n');
  expect(say('policy', 'show', 'db')).toMatch(
    /^Volume: +db\nSchedule: daily\nKeeps: +2 daily\nLast: .*\nDue: +no\n\nSNAPSHOT[\s\S]*db@one .* stays +held: until the audit\n/,
  );
  expect(say('list', '--type', 'snapshot')).toMatch(
    /^SNAPSHOT .* MARKS\ndb@one .* policy .* held: until the audit\n[\s\S]*db@mine .* -\n/,
  );
  expect(say('show', 'db')).toMatch(/\n {2}one .* {2}by its policy {2}held: until the audit\n/);
  expect(refused(coppice(pool, 'remove', 'db@one'), 5)).toContain('release it with "coppice release db@one"');
  expect(say('release', 'db@one')).toBe('Released db@one.\n');
  expect(say('release', 'db@one')).toBe('db@one was not held.\n');
  expect(say('policy', 'apply')).toBe('Removed db@one.\n');
});

test('what fails is told at the end, with its exit code, and the others are done', () => {
  say('create', 'bad', '--size', '1M');
  say('create', 'good', '--size', '1M');
  say('set', 'bad', 'policy.hourly=2', 'consistency=application');
  say('set', 'good', 'policy.hourly=2');
  const { code, stdout, stderr } = coppice(pool, 'policy', 'apply');
  expect(stdout).toMatch(/^Took good@auto-\d{8}-\d{6}\.\n$/);
  expect(stderr).toMatch(
    /^coppice: bad: No application is declared for bad, .*\ncoppice: The policies of bad could not be followed\.\n$/,
  );
  expect(code).toBe(2);
  const asJson = coppice(pool, 'policy', 'apply', '--json');
  expect(asJson.code).toBe(2);
  expect(JSON.parse(asJson.stdout)).toMatchObject({
    failed: [{ reference: 'bad', error: { code: 'invalid_argument' } }],
  });
  say('set', 'bad', 'consistency=');
});

test('several pools are followed one after the other, also when one is not there', () => {
  say('create', 'late', '--size', '1M');
  say('set', 'late', 'policy.hourly=2');
  const { code, stdout, stderr } = coppice(
    '/nowhere',
    'policy',
    'apply',
    '--pool',
    '/never/made',
    '--pool',
    pool,
  );
  expect(stdout).toMatch(/Took .*late@auto-/);
  expect(stderr).toContain('/never/made');
  expect(code).toBe(7);
});

test('mistakes are refused', () => {
  expect(refused(coppice(pool, 'set', 'db', 'policy.hourly=many'), 2)).toContain(
    'write how many are to be kept',
  );
  expect(refused(coppice(pool, 'policy', 'apply', 'never-made'), 3)).toContain('never-made');
  expect(refused(coppice(pool, 'hold', 'db'), 2)).toContain('names no snapshot');
  expect(refused(coppice(pool, 'snapshot', 'db@x', '--expires', 'soon'), 2)).toContain('"soon" is no time');
  expect(refused(coppice(pool, 'snapshot', 'db@x', '--expires', '2020-01-01'), 2)).toContain('is past');
});

test('snapshots are proven by schedule', () => {
  say('create', 'proven', '--size', '1M');
  say('set', 'proven', 'policy.verify=daily', 'verify.program=/usr/bin/false');
  expect(say('policy', 'verify')).toBe('Nothing is due.\n');
  say('snapshot', 'proven@a');
  expect(say('policy', 'verify', '--dry-run')).toBe('Would verify proven@a.\n');
  const bad = coppice(pool, 'policy', 'verify');
  expect(bad.stdout).toMatch(/^proven@a:\n {2}program: failed/);
  expect([bad.code, bad.stderr]).toEqual([1, 'coppice: Not all snapshots of proven can be relied on.\n']);
  expect(say('policy', 'verify', 'proven')).toBe('Nothing is due.\n');
  say('remove', 'proven', '--with-snapshots');
});

test('a snapshot by hand can expire', () => {
  say('snapshot', 'db@short', '--expires', '7d');
  const inAWeek = new Date(Date.now() + 7 * day).toISOString().slice(0, 10);
  expect(say('show', 'db')).toContain(`expires ${inAWeek}`);
  expect(say('policy', 'show', 'db')).toMatch(/db@short .* stays +expires \d{4}-\d\d-\d\dT\d\d:\d\dZ\n/);
});

const unitNames = ['policy', 'verify'].flatMap((name) => [
  `coppice-${name}.service`,
  `coppice-${name}.timer`,
]);

test('the units for systemd are written, kept, and never put in the place of somebody else’s', () => {
  const directory = scratchDirectory('units');
  const install = (...flags: readonly string[]): string =>
    done(coppice(pool, 'policy', 'install', '--unit-directory', directory, ...flags));
  expect(install('--dry-run')).toContain('OnCalendar=*:0/5\n');
  expect(readdirSync(directory)).toEqual([]);
  expect(install('--pool', '/srv/a b', '--pool', 'zfs:vmpool')).toContain(
    'systemctl enable --now coppice-policy.timer coppice-verify.timer',
  );
  const files = readdirSync(directory).sort();
  expect(files).toEqual(unitNames);
  expect(readFileSync(join(directory, 'coppice-verify.service'), 'utf8')).toMatch(
    /\nExecStart=.* policy verify --pool "\/srv\/a b" --pool zfs:vmpool\n/,
  );
  const service = readFileSync(join(directory, 'coppice-policy.service'), 'utf8');
  expect(service).toMatch(/\nExecStart=.* policy apply --pool "\/srv\/a b" --pool zfs:vmpool\n/);
  expect(service).toContain('\nAfter=srv.mount\n');
  expect(service).toContain('\nAfter=zfs-import.target\n');
  expect(service).not.toMatch(/^(RequiresMountsFor|ProtectSystem|PrivateTmp)/m);
  expect(readFileSync(join(directory, 'coppice-policy.timer'), 'utf8')).toContain('\nPersistent=true\n');
  expect(install('--pool', '/srv/a b', '--pool', 'zfs:vmpool')).toContain('Already in');
  writeFileSync(join(directory, 'coppice-policy.timer'), '[Timer]\n');
  const taken = coppice(pool, 'policy', 'install', '--unit-directory', directory);
  expect(refused(taken, 4)).toContain('was not written by "coppice policy install"');
  expect(readFileSync(join(directory, 'coppice-policy.service'), 'utf8')).toBe(service);
  expect(
    refused(coppice(pool, 'policy', 'install', '--unit-directory', directory, '--pool', 'a\nb'), 2),
  ).toBeTruthy();
});

const analyze = '/usr/bin/systemd-analyze';
const missing = skippedWithout(analyze);

test.skipIf(missing !== '')(`systemd finds nothing wrong with them${missing}`, () => {
  const directory = scratchDirectory('units');
  done(coppice(pool, 'policy', 'install', '--unit-directory', directory));
  const units = unitNames.map((name) => join(directory, name));
  const verify = spawnSync(analyze, ['verify', '--man=no', ...units], { encoding: 'utf8' });
  expect([verify.status, verify.stdout, verify.stderr]).toEqual([0, '', '']);
});
