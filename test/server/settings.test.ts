import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Code, ConnectError } from '@connectrpc/connect';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import {
  BadRequestSchema,
  BlockersSchema,
  type CoppiceClient,
  connectCoppice,
  ErrorInfoSchema,
} from '../../src/client/index.ts';
import type { Pool } from '../../src/index.ts';
import type { Scope } from '../../src/server/auth/scopes.ts';
import { addGrant } from '../../src/server/auth/tokens.ts';
import { scratchDirectory } from '../support/devices.ts';
import { startTestServer, type TestServer } from '../support/test-server.ts';

/** What is set for volumes: read, changed as a whole or not at all, and by whom. */

const name = 'pools/vms/volumes/v';
const directory = scratchDirectory('server');
const clients: Record<string, CoppiceClient> = {};
let home: TestServer;
let pool: Pool;
let volumes: CoppiceClient['volumes'];

beforeAll(async () => {
  const tokens: Array<readonly [string, string]> = [];
  const grant = async (who: string, scope: Scope, pools?: readonly string[]): Promise<void> => {
    const request = { name: who, kind: 'token', scope, ...(pools && { pools }) } as const;
    const { token } = await addGrant(join(directory, 'tokens.json'), request);
    tokens.push([who, token ?? '']);
  };
  await grant('reader', 'read');
  await grant('writer', 'write');
  await grant('admin-of-one', 'admin', ['vms']);
  home = await startTestServer({ directory });
  pool = home.pools['vms'] as Pool;
  await pool.create('v', { bytes: 4096 });
  const { socket } = home;
  clients['root'] = connectCoppice({ socket });
  for (const [who, token] of tokens) clients[who] = connectCoppice({ socket, token });
  volumes = clientOf('root').volumes;
});
afterAll(async () => {
  for (const client of Object.values(clients)) client.close();
  await home[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await pool.set('v', { 'policy.daily': '7' });
});
afterEach(async () => {
  const present = await pool.settings('v');
  await pool.set('v', Object.fromEntries(Object.keys(present).map((each) => [each, null])));
});

function clientOf(who: string): CoppiceClient {
  return clients[who] as CoppiceClient;
}

async function failure(call: Promise<unknown>): Promise<ConnectError> {
  return call.then(
    () => {
      throw new Error('It did not fail.');
    },
    (error: unknown) => ConnectError.from(error),
  );
}

function fieldsIn(error: ConnectError): string[] {
  return error
    .findDetails(BadRequestSchema)
    .flatMap((each) => each.fieldViolations.map(({ field }) => field));
}

test('are told with the volume, and changed for everybody', async () => {
  expect((await volumes.getVolume({ name })).settings).toEqual({ 'policy.daily': '7' });
  const set = { 'policy.hourly': '24', consistency: 'sync' };
  const after = await volumes.updateSettings({ name, set, unset: ['policy.daily'] });
  expect(after).toMatchObject({ name, settings: set });
  expect(await pool.settings('v')).toEqual(set);
  // Those of a list are for who asks for the volume.
  const { volumes: listed } = await volumes.listVolumes({ parent: 'pools/vms' });
  expect(listed).toMatchObject([{ name, settings: {} }]);
  const lines = readFileSync(join(directory, 'audit.jsonl'), 'utf8').trim().split('\n');
  const told = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(told.findLast(({ program }) => program === 'daemon')).toMatchObject({
    operation: 'set',
    names: ['v'],
    arguments: ['v', { ...set, 'policy.daily': null }],
    outcome: 'ok',
    principal: 'uid:0',
  });
});

test.each<[what: string, request: { set?: Record<string, string>; unset?: string[] }, field: string]>([
  ['nothing', {}, 'set'],
  ['a setting that there is not', { set: { colour: 'red' } }, 'set'],
  ['one of them not valid', { set: { 'policy.hourly': '1', 'policy.weekly': 'often' } }, 'set'],
  ['an empty value', { set: { 'policy.hourly': '' } }, 'set'],
  ['a value of several lines', { set: { 'verify.sql': 'SELECT\n1' } }, 'set'],
  ['more than there is room for', { set: longest() }, 'set'],
  ['an order of what is not declared', { set: { 'quiesce.order': 'redis' } }, 'set'],
  ['one both set and unset', { set: { consistency: 'sync' }, unset: ['consistency'] }, 'unset'],
  ['a name like no other', { set: { ['__proto__']: 'x', constructor: 'y' } }, 'set'],
])('%s is refused, and changes nothing', async (_, request, field) => {
  const error = await failure(volumes.updateSettings({ name, ...request }));
  expect(Code[error.code], error.message).toBe('InvalidArgument');
  expect(fieldsIn(error)).toEqual([field]);
  expect(await pool.settings('v')).toEqual({ 'policy.daily': '7' });
});

test('a request that comes twice happens once', async () => {
  const request = { name, set: { 'policy.hourly': '3' }, requestId: 'once' };
  const first = await volumes.updateSettings(request);
  await pool.set('v', { 'policy.hourly': '4' });
  expect(await volumes.updateSettings(request)).toEqual(first);
  expect(await pool.settings('v')).toMatchObject({ 'policy.hourly': '4' });
});

test('a template has none, and of what is not there nothing is set', async () => {
  await pool.seal('v', 'sealed');
  const set = { consistency: 'sync' };
  const sealed = await failure(volumes.updateSettings({ name: 'pools/vms/volumes/sealed', set }));
  expect(sealed.code).toBe(Code.FailedPrecondition);
  expect(sealed.findDetails(BlockersSchema)).toHaveLength(1);
  const missing = await failure(volumes.updateSettings({ name: 'pools/vms/volumes/nowhere', set }));
  expect(missing.code).toBe(Code.NotFound);
});

/** Each has the server do something as root which its caller may not. */
const dangerous: ReadonlyArray<readonly [string, string]> = [
  ['quiesce.hook', '/usr/bin/true'],
  ['quiesce.hook.second', '/usr/bin/true'],
  ['quiesce.freeze', 'pid=1'],
  ['quiesce.postgres', 'pg,passfile=/etc/shadow'],
  ['quiesce.order', 'hook'],
  ['stop.unit', 'ssh.service'],
  ['stop.hook', '/usr/bin/true'],
  ['verify.program', '/usr/bin/true'],
  ['verify.sql', "COPY t TO PROGRAM 'true'"],
];

test.each(['writer', 'admin-of-one'])('%s changes no setting by which the host is reached', async (who) => {
  const { volumes: own } = clientOf(who);
  for (const [setting, value] of dangerous)
    for (const request of [{ set: { 'policy.hourly': '1', [setting]: value } }, { unset: [setting] }]) {
      const error = await failure(own.updateSettings({ name, ...request }));
      expect(Code[error.code], setting).toBe('PermissionDenied');
      expect(error.findDetails(ErrorInfoSchema)).toMatchObject([{ reason: 'SETTING_NOT_ALLOWED' }]);
      expect(error.rawMessage).toContain(setting);
    }
  expect(await pool.settings('v')).toEqual({ 'policy.daily': '7' });
  const set = { consistency: 'sync', 'policy.hourly': '1', 'policy.verify': 'weekly' };
  expect((await own.updateSettings({ name, set })).settings).toMatchObject(set);
});

test('root over the socket may change each of these', async () => {
  for (const [setting] of dangerous) await volumes.updateSettings({ name, unset: [setting] });
  await volumes.updateSettings({ name, set: { 'stop.hook': '/usr/bin/true' } });
  expect(await pool.settings('v')).toMatchObject({ 'stop.hook': '/usr/bin/true' });
});

test('whatever a writer names is refused, unless it is one of a policy or the level', async () => {
  const { volumes: own } = clientOf('writer');
  const part = fc.constantFrom(
    'consistency',
    'policy',
    'quiesce',
    'stop',
    'verify',
    '',
    'hook',
    'daily',
    '.',
    ' ',
  );
  const named = fc.oneof(
    fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('.')),
    fc.string({ minLength: 1, maxLength: 40 }),
  );
  await fc.assert(
    fc.asyncProperty(named, fc.boolean(), async (setting, isSet) => {
      fc.pre(setting !== '' && !setting.includes('\0') && setting !== 'consistency');
      // Which is lost on the way, so that there is nothing to change.
      fc.pre(!setting.startsWith('policy.') && setting !== '__proto__');
      const request = isSet ? { set: { [setting]: 'x' } } : { unset: [setting] };
      const { code } = await failure(own.updateSettings({ name, ...request }));
      expect(Code[code]).toBe('PermissionDenied');
    }),
    { numRuns: 100 },
  );
  expect(await pool.settings('v')).toEqual({ 'policy.daily': '7' });
});

test('who may only look sees them, and changes none', async () => {
  const { volumes: own } = clientOf('reader');
  expect((await own.getVolume({ name })).settings).toEqual({ 'policy.daily': '7' });
  const { code } = await failure(own.updateSettings({ name, set: { consistency: 'sync' } }));
  expect(code).toBe(Code.PermissionDenied);
});

function longest(): Record<string, string> {
  const value = `SELECT ${'1'.repeat(1000)}`;
  return Object.fromEntries(['a', 'b', 'c', 'd'].map((each) => [`verify.sql-${each}`, value]));
}
