import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { chmodSync, copyFileSync, readFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { promisify } from 'node:util';
import {
  create,
  type DescField,
  type DescMessage,
  type DescMethod,
  getOption,
  hasOption,
} from '@bufbuild/protobuf';
import { Code, ConnectError, createClient, type Interceptor, type Transport } from '@connectrpc/connect';
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
  Http2SessionManager,
} from '@connectrpc/connect-node';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Access, access, Resource, rule } from '../../src/api/generated/coppice/v1/annotations_pb.ts';
import { EventService } from '../../src/api/generated/coppice/v1/event_service_pb.ts';
import { JobService } from '../../src/api/generated/coppice/v1/job_service_pb.ts';
import { PoolService } from '../../src/api/generated/coppice/v1/pool_service_pb.ts';
import { VolumeService } from '../../src/api/generated/coppice/v1/volume_service_pb.ts';
import { Health } from '../../src/api/generated/grpc/health/v1/health_pb.ts';
import { authenticate } from '../../src/server/auth/authenticate.ts';
import type { Scope } from '../../src/server/auth/scopes.ts';
import { addGrant, type GrantRequest, Grants, revokeGrant } from '../../src/server/auth/tokens.ts';
import { type Authority, type Certificate, certificateAuthority } from '../support/certificates.ts';
import { scratchDirectory } from '../support/devices.ts';
import { startTestServer, type TestServer } from '../support/test-server.ts';

const services = [VolumeService, PoolService, JobService, EventService];
const methods = services.flatMap((service) => service.methods as readonly DescMethod[]);
const accessOf = (method: DescMethod): Access => getOption(method, access);

const protocols = {
  gRPC: createGrpcTransport,
  'gRPC-web': (options: Parameters<typeof createGrpcTransport>[0]) =>
    createGrpcWebTransport({ ...options, httpVersion: '2' }),
  JSON: (options: Parameters<typeof createGrpcTransport>[0]) =>
    createConnectTransport({ ...options, httpVersion: '2', useBinaryFormat: false }),
} as const;
type Protocol = keyof typeof protocols;
const protocolNames = Object.keys(protocols) as Protocol[];

let directory: string;
let authority: Authority;
let stranger: Authority;
let home: TestServer;
const sessions: Http2SessionManager[] = [];

beforeAll(async () => {
  directory = scratchDirectory('certificates');
  authority = certificateAuthority(directory, 'ours');
  stranger = certificateAuthority(directory, 'theirs');
  home = await startTestServer({
    pools: ['vms', 'other'],
    tls: { ...authority.issue('server'), clientAuthority: authority.certificate },
  });
  for (const pool of Object.values(home.pools)) {
    await pool.create('disk', { bytes: 2 ** 20 });
    await pool.snapshot('disk@first');
  }
});

afterAll(() => home[Symbol.asyncDispose]());

/** Whatever is refused changes nothing. */
let before: unknown;
beforeEach(async () => {
  before = await contents();
  home.takeLog();
});
afterEach(async () => {
  for (const session of sessions.splice(0)) session.abort();
  expect(await contents()).toEqual(before);
});

describe.each(protocolNames)('over the network, by %s', (protocol) => {
  test('without a token nothing is told but that it lives', async () => {
    const transport = connect({ protocol });
    await refused(() => pools({ transport }).listPools({}), Code.Unauthenticated, 'NO_CREDENTIALS');
    await expect(createClient(Health, transport).check({})).resolves.toMatchObject({ status: 1 });
  });

  test.each([
    ['Bearer coppice_wrong', 'UNKNOWN_TOKEN'],
    ['Bearer', 'BAD_CREDENTIALS'],
    ['Basic cm9vdDpyb290', 'BAD_CREDENTIALS'],
    ['Bearer two words', 'BAD_CREDENTIALS'],
  ])('%j is refused', async (authorization, reason) => {
    const transport = connect({ protocol, authorization });
    await refused(() => pools({ transport }).listPools({}), Code.Unauthenticated, reason, authorization);
  });

  test('a token that has expired is refused', async () => {
    const given = await token('expired', 'admin', { expires: '2020-01-01T00:00:00.000Z' });
    const call = (): Promise<unknown> => pools({ ...given, protocol }).listPools({});
    await refused(call, Code.Unauthenticated, 'EXPIRED', given.token);
  });

  test('a token that is revoked is refused from then on, and what it watches ends', async () => {
    const given = await token('revoked', 'read');
    const client = pools({ ...given, protocol });
    const watching = watch({ ...given, protocol }, 'vms');
    await watching.begun;
    await client.listPools({});
    await revokeGrant(home.tokenFile, given.name);
    // The server looks at the file twice a second, and this as long as a test may take.
    for (;;) {
      const error = await failure(client.listPools({}));
      if (error) break;
      await pause();
    }
    await refused(() => client.listPools({}), Code.Unauthenticated, 'UNKNOWN_TOKEN', given.token);
    expect(await watching.ended).toMatchObject({ code: Code.Unauthenticated });
  });

  test('a token of another pool is refused wherever a pool is named', async () => {
    const given = await token('of-other', 'admin', { pools: ['other'] });
    const transport = connect({ ...given, protocol });
    for (const method of methods.filter((each) => poolFields(each.input).length > 0))
      await refused(
        () => callMethod(transport, method, requestFor(method.input, 'vms')),
        Code.PermissionDenied,
        'POOL',
        given.token,
      );
    const listed = await pools({ transport }).listPools({});
    expect(listed.pools.map(({ name }) => name)).toEqual(['pools/other']);
    await pools({ transport }).getPool({ name: 'pools/other' });
  });

  const grades: ReadonlyArray<readonly [Scope, Access]> = [
    ['read', Access.READ],
    ['write', Access.WRITE],
    ['admin', Access.ADMIN],
  ];
  test.each(grades)(
    'a token of the scope %s may what that says, and nothing else',
    async (scope, allowed) => {
      const given = await token(`scope-${scope}`, scope);
      const transport = connect({ ...given, protocol });
      for (const method of methods) {
        const call = (): Promise<unknown> => callMethod(transport, method, {});
        if (accessOf(method) > allowed) {
          await refused(call, Code.PermissionDenied, 'SCOPE', given.token, nameOf(method));
          continue;
        }
        // It gets as far as the request, in which nothing stands.
        const error = await failure(call());
        expect([undefined, Code.InvalidArgument], nameOf(method)).toContain(error?.code);
      }
    },
  );

  test('a certificate counts where something was granted to its common name, and no other', async () => {
    const known = authority.issue('build-host');
    await addGrant(home.tokenFile, { name: 'build-host', kind: 'certificate', scope: 'read' });
    await settled();
    const listed = await pools({ protocol, certificate: known }).listPools({});
    expect(listed.pools).toHaveLength(2);
    await refused(
      () => callMethod(connect({ protocol, certificate: known }), VolumeService.method.createVolume, {}),
      Code.PermissionDenied,
      'SCOPE',
    );
    const unknown = authority.issue('stranger');
    await refused(
      () => pools({ protocol, certificate: unknown }).listPools({}),
      Code.Unauthenticated,
      'UNKNOWN_CERTIFICATE',
    );
    const foreign = stranger.issue('build-host');
    await refused(
      () => pools({ protocol, certificate: foreign }).listPools({}),
      Code.Unauthenticated,
      'NO_CREDENTIALS',
    );
    await revokeGrant(home.tokenFile, 'build-host');
    await settled();
  });
});

test('each method says what it needs, and names pools where it is looked for them', () => {
  expect(methods.length).toBeGreaterThan(25);
  for (const method of methods) {
    expect(hasOption(method, access) && accessOf(method), nameOf(method)).toBeGreaterThan(0);
    const nested = method.input.fields.flatMap(({ message }) => (message ? [message] : []));
    for (const message of nested) expect(poolFields(message), message.typeName).toEqual([]);
  }
});

test('/metrics needs the scope read, and tells a token of one pool of no other', async () => {
  expect((await metrics()).status).toBe(401);
  expect((await metrics('Bearer coppice_wrong')).status).toBe(401);
  const [line] = home.takeLog().filter(({ message }) => message === 'refused');
  expect(line).toMatchObject({ method: '/metrics', code: 'Unauthenticated', requestId: expect.any(String) });
  const { token: one } = await token('metrics-one', 'read', { pools: ['other'] });
  const { status, text } = await metrics(`Bearer ${one}`);
  expect(status).toBe(200);
  expect(text).toContain('coppice_pool_available{pool="other"} 1');
  expect(text).not.toContain('vms');
  const { token: all } = await token('metrics-all', 'read');
  expect((await metrics(`Bearer ${all}`)).text).toContain('coppice_pool_available{pool="vms"} 1');
});

test('a certificate that has expired while its connection lived is refused', () => {
  const grants = new Grants(home.tokenFile, (error) => expect(error).toBeUndefined());
  const socket = {
    authorized: true,
    getPeerCertificate: () => ({ subject: { CN: 'build-host' }, valid_to: 'Jan  1 00:00:00 2020 GMT' }),
  };
  const call = (): unknown =>
    authenticate({ authorization: undefined, peer: undefined, socket: socket as never }, grants, 'write');
  expect(call).toThrow(/The certificate of the client has expired/);
});

test('while the file of tokens can be written by others, nobody comes in, and the log says why once', async () => {
  const given = await token('kept', 'read');
  await pools(given).listPools({});
  home.takeLog();
  chmodSync(home.tokenFile, 0o666);
  await settled();
  for (let times = 0; times < 2; times++) {
    const error = await failure(pools(given).listPools({}));
    expect(error?.code).toBe(Code.Unauthenticated);
    // Who has no right is told nothing of the host.
    expect(error?.message).not.toContain(home.tokenFile);
    await settled();
  }
  expect(home.takeLog().filter(({ message }) => message === 'tokens unusable')).toEqual([
    expect.objectContaining({ reason: expect.stringContaining('can be written by others than root') }),
  ]);
  chmodSync(home.tokenFile, 0o600);
  await settled();
  await pools(given).listPools({});
});

test('a renewed certificate is taken up, one without its key not', async () => {
  const [first, second] = [authority.issue('server'), authority.issue('server')];
  const files = { certificate: join(directory, 'in-use.pem'), key: join(directory, 'in-use-key.pem') };
  copyFileSync(first.certificate, files.certificate);
  copyFileSync(first.key, files.key);
  await using served = await startTestServer({ tls: files });
  const shown = (): Promise<string> => certificateOf(served.url);
  expect(await shown()).toBe(fingerprintOf(first.certificate));
  copyFileSync(second.certificate, files.certificate);
  while (!served.takeLog().some(({ message }) => message === 'the renewed certificate is not used yet'))
    await pause();
  expect(await shown()).toBe(fingerprintOf(first.certificate));
  copyFileSync(second.key, files.key);
  while (!served.takeLog().some(({ message }) => message === 'certificate renewed')) await pause();
  expect(await shown()).toBe(fingerprintOf(second.certificate));
});

describe('over the unix socket', () => {
  const group = 65_531;
  const member = 65_532;

  test.each(['read', 'write'] as const)(
    'members of the group have the scope %s, root has all, others none',
    async (scope) => {
      const directory = scratchDirectory('socket');
      for (let path = directory; path.includes('coppice-test-'); path = join(path, '..'))
        chmodSync(path, 0o711);
      await using served = await startTestServer({ socketScope: scope, group, directory });
      await served.pools['vms']?.create('disk', { bytes: 2 ** 20 });
      const call = (uid: number, gid: number, method: string, body: unknown): Promise<unknown> =>
        callAs(uid, gid, served.socket, method, body);
      const list = 'coppice.v1.PoolService/ListPools';
      const make = 'coppice.v1.VolumeService/CreateVolume';
      const grow = 'coppice.v1.PoolService/GrowPool';
      const disk = { parent: 'pools/vms', volumeId: 'made', sizeBytes: '1048576' };
      expect(await call(member, member, list, {})).toBe('EACCES');
      expect(await call(member, group, list, {})).toMatchObject({ status: 200 });
      served.takeLog();
      expect(await call(member, group, make, disk)).toMatchObject(
        scope === 'read' ? { status: 403, body: { code: 'permission_denied' } } : { status: 200 },
      );
      expect(await call(member, group, grow, { name: 'pools/vms', sizeBytes: '9663676416' })).toMatchObject({
        status: 403,
      });
      const lines = served.takeLog().filter(({ message }) => message === 'refused');
      expect(lines.map(({ principal, code }) => [principal, code])).toEqual(
        Array.from({ length: scope === 'read' ? 2 : 1 }, () => [`uid:${member}`, 'PermissionDenied']),
      );
      expect(await call(0, 0, grow, { name: 'pools/vms', sizeBytes: '9663676416' })).toMatchObject({
        status: 200,
      });
      // Who is told apart by the kernel can still show less: a token counts before that.
      expect(await call(0, 0, list, { token: 'coppice_wrong' })).toMatchObject({ status: 401 });
      const names = (await served.pools['vms']?.list())?.map(({ name }) => name);
      expect(names?.sort()).toEqual(scope === 'read' ? ['disk'] : ['disk', 'made']);
    },
  );
});

/** The fingerprint of the certificate that a server shows. */
function certificateOf(url: string): Promise<string> {
  const { port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connectTls(
      { port: Number(port), host: '127.0.0.1', ca: readFileSync(authority.certificate) },
      () => {
        resolve(socket.getPeerCertificate().fingerprint256);
        socket.destroy();
      },
    );
    socket.on('error', reject);
  });
}

function fingerprintOf(file: string): string {
  return new X509Certificate(readFileSync(file)).fingerprint256;
}

interface Who {
  readonly transport?: Transport;
  readonly protocol?: Protocol;
  readonly token?: string;
  readonly authorization?: string;
  readonly certificate?: Certificate;
}

function pools(who: Who) {
  return createClient(PoolService, who.transport ?? connect(who));
}

const callerRequestId = 'request-of-the-test';

function connect({ protocol = 'gRPC', token, authorization, certificate }: Who): Transport {
  const header = authorization ?? (token === undefined ? undefined : `Bearer ${token}`);
  const identify: Interceptor = (next) => (request) => {
    if (header !== undefined) request.header.set('authorization', header);
    request.header.set('x-request-id', callerRequestId);
    return next(request);
  };
  const sessionManager = new Http2SessionManager(
    home.url,
    {},
    {
      ca: readFileSync(authority.certificate),
      ...(certificate && { cert: readFileSync(certificate.certificate), key: readFileSync(certificate.key) }),
    },
  );
  sessions.push(sessionManager);
  return protocols[protocol]({ baseUrl: home.url, sessionManager, interceptors: [identify] });
}

let count = 0;

async function token(
  stem: string,
  scope: Scope,
  more: Pick<GrantRequest, 'pools' | 'expires'> = {},
): Promise<{ readonly name: string; readonly token: string }> {
  const name = `${stem}-${++count}`;
  const { token: made } = await addGrant(home.tokenFile, { name, kind: 'token', scope, ...more });
  await settled();
  return { name, token: made ?? '' };
}

/** As long as the server may take what it knows of the tokens for true. */
function settled(): Promise<void> {
  return pause(550);
}

function pause(milliseconds = 50): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

async function failure(call: Promise<unknown>): Promise<ConnectError | undefined> {
  try {
    await call;
    return undefined;
  } catch (error) {
    return ConnectError.from(error);
  }
}

/** It fails with that code, the log has one line of it, and in that nothing of what was secret. */
async function refused(
  call: () => Promise<unknown>,
  code: Code,
  reason: string,
  secret = 'coppice_',
  what = '',
): Promise<void> {
  home.takeLog();
  const error = await failure(call());
  expect(error && Code[error.code], what).toBe(Code[code]);
  const log = home.takeLog();
  const lines = log.filter(({ message }) => message === 'refused');
  expect(lines, what).toEqual([
    expect.objectContaining({
      level: 'warn',
      method: expect.stringMatching(/^coppice\.v1\.\w+Service\.\w+$/),
      code: Code[code],
      requestId: callerRequestId,
      reason: error?.rawMessage,
    }),
  ]);
  expect(reasonOf(error)).toBe(reason);
  const hidden = secret.replace(/^Bearer /, '');
  if (hidden.length > 6) expect(JSON.stringify(log)).not.toContain(hidden);
}

function reasonOf(error: ConnectError | undefined): string | undefined {
  // google.rpc.ErrorInfo: its first field is the reason.
  const detail = error?.details.find((each) => 'type' in each && each.type === 'google.rpc.ErrorInfo');
  if (!detail || !('value' in detail) || !(detail.value instanceof Uint8Array)) return undefined;
  return Buffer.from(detail.value).toString('latin1', 2, 2 + (detail.value[1] ?? 0));
}

function nameOf(method: DescMethod): string {
  return `${method.parent.typeName}.${method.name}`;
}

async function callMethod(transport: Transport, method: DescMethod, fields: object): Promise<unknown> {
  const message = create(method.input, fields as never);
  const patience = 20_000;
  if (method.methodKind === 'unary')
    return await transport.unary(method as never, undefined, patience, undefined, message as never);
  async function* only() {
    yield message as never;
  }
  const response = await transport.stream(method as never, undefined, patience, undefined, only());
  for await (const each of response.message) return each;
  return undefined;
}

function poolFields(message: DescMessage): DescField[] {
  return message.fields.filter(
    (field) => hasOption(field, rule) && getOption(field, rule).resource !== Resource.UNSPECIFIED,
  );
}

/** A request that breaks no rule, in which each name is one of a pool. */
function requestFor(message: DescMessage, pool: string): object {
  const named: Readonly<Record<number, string>> = {
    [Resource.POOL]: `pools/${pool}`,
    [Resource.VOLUME]: `pools/${pool}/volumes/disk`,
    [Resource.SNAPSHOT]: `pools/${pool}/volumes/disk/snapshots/first`,
    [Resource.VOLUME_OR_SNAPSHOT]: `pools/${pool}/volumes/disk`,
    [Resource.JOB]: `pools/${pool}/jobs/job`,
  };
  const fields = message.fields.flatMap((field) => {
    if (!hasOption(field, rule)) return [];
    const { resource, identifier, required, hostPath, min } = getOption(field, rule);
    const one = named[resource] ?? (identifier ? 'made' : hostPath ? '/nowhere' : undefined);
    const number = field.fieldKind === 'scalar' && one === undefined ? numberFor(field, min) : one;
    if (number === undefined || (one === undefined && !required)) return [];
    return [[field.localName, field.fieldKind === 'list' ? [number] : number]];
  });
  return Object.fromEntries(fields) as object;
}

function numberFor(field: DescField, min: bigint): bigint | number | undefined {
  if (field.fieldKind !== 'scalar') return undefined;
  const least = min > 2n ? min : 2n;
  // 64 bits are BigInts.
  return [3, 4, 6, 16, 18].includes(field.scalar)
    ? least
    : [5, 13, 15, 17].includes(field.scalar)
      ? Number(least)
      : undefined;
}

function watch(who: Who, pool: string): { readonly begun: Promise<void>; readonly ended: Promise<unknown> } {
  const { promise: begun, resolve } = Promise.withResolvers<void>();
  const run = async (): Promise<unknown> => {
    try {
      const events = createClient(EventService, connect(who)).watchEvents({ parent: `pools/${pool}` });
      for await (const { synced } of events) if (synced) resolve();
      return 'ended without an error';
    } catch (error) {
      return error;
    }
  };
  return { begun, ended: run() };
}

async function contents(): Promise<unknown> {
  const all = Object.values(home.pools).map(async (pool) => [await pool.list(), await pool.listSnapshots()]);
  return JSON.parse(JSON.stringify(await Promise.all(all)));
}

function metrics(authorization?: string): Promise<{ readonly status: number; readonly text: string }> {
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      `${home.url}/metrics`,
      {
        ca: readFileSync(authority.certificate),
        agent: false,
        headers: { ...(authorization !== undefined && { authorization }) },
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
      },
    );
    request.on('error', reject);
    request.end();
  });
}

/** Calls by JSON and HTTP/1.1 as another user would. Returns the answer, or why there was no connection. */
async function callAs(
  uid: number,
  gid: number,
  socketPath: string,
  method: string,
  body: unknown,
): Promise<unknown> {
  const { token, ...message } = body as { readonly token?: string };
  const program = `
    process.setgroups([]);
    process.setgid(${gid});
    process.setuid(${uid});
    const { request } = process.getBuiltinModule('node:http');
    const headers = { 'content-type': 'application/json', ...${JSON.stringify(token ? { authorization: `Bearer ${token}` } : {})} };
    const sent = request({ socketPath: ${JSON.stringify(socketPath)}, path: '/${method}', method: 'POST', headers }, (response) => {
      let text = '';
      response.on('data', (chunk) => { text += chunk; });
      response.on('end', () => console.log(JSON.stringify({ status: response.statusCode, body: JSON.parse(text) })));
    });
    sent.on('error', (error) => console.log(JSON.stringify(error.code)));
    sent.end(${JSON.stringify(JSON.stringify(message))});
  `;
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', program], { cwd: '/' });
  return JSON.parse(stdout);
}
