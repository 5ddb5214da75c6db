import { statSync, truncateSync } from 'node:fs';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { scratchDirectory } from './devices.ts';
import { blockResize, nothing, partialDrive, type Schema, violation, vmResizeDisk } from './schemas.ts';

export interface FakeServer extends AsyncDisposable {
  readonly socket: string;
  /** What was asked, in order. */
  readonly asked: string[];
}

/** Listens on a socket in a directory of its own. */
export async function serving(
  serve: (connection: Socket) => void,
  asked: string[] = [],
): Promise<FakeServer> {
  return listen(createServer(serve), asked);
}

async function listen(server: Server, asked: string[]): Promise<FakeServer> {
  const socket = join(scratchDirectory('socket'), 'api.sock');
  const open = new Set<Socket>();
  server.on('connection', (connection: Socket) => {
    open.add(connection);
    connection.on('error', () => undefined);
    connection.on('close', () => open.delete(connection));
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  return {
    socket,
    asked,
    async [Symbol.asyncDispose]() {
      for (const connection of open) connection.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

export interface FakeDrive {
  /** What QEMU calls it when it has such a name, which it has by -drive and not by -blockdev. */
  readonly device?: string;
  readonly qdev?: string;
  readonly node: string;
  readonly file: string;
  readonly driver?: string;
}

/** As QEMU: it greets, wants its capabilities asked for first, and sets the size of the file to what it is told. */
export function fakeQemu(drives: readonly FakeDrive[], lie?: number): Promise<FakeServer> {
  const sizes = new Map(drives.map(({ node, file }) => [node, statSync(file).size]));
  const asked: string[] = [];
  const schemas: Readonly<Record<string, Schema>> = {
    qmp_capabilities: nothing,
    'query-block': nothing,
    block_resize: blockResize,
  };
  const execute = (name: string, given: Readonly<Record<string, unknown>>): unknown => {
    if (name === 'query-block') {
      return drives.map(({ device = '', qdev, node, file, driver = 'raw' }) => ({
        device,
        ...(qdev && { qdev }),
        locked: false,
        removable: false,
        type: 'unknown',
        inserted: {
          'node-name': node,
          file,
          drv: driver,
          ro: false,
          image: { filename: file, format: driver, 'virtual-size': lie ?? sizes.get(node) },
        },
      }));
    }
    if (name === 'block_resize') {
      const drive = drives.find(
        ({ device, node }) => node === given['node-name'] || device === given['device'],
      );
      if (!drive) throw new Error('Cannot find the node');
      truncateSync(drive.file, Number(given['size']));
      sizes.set(drive.node, Number(given['size']));
    }
    return {};
  };
  return serving((connection) => {
    const send = (value: unknown): void => void connection.write(`${JSON.stringify(value)}\r\n`);
    let isReady = false;
    send({
      QMP: { version: { qemu: { major: 7, minor: 2, micro: 22 }, package: '' }, capabilities: ['oob'] },
    });
    createInterface(connection).on('line', (line) => {
      const { execute: name = '', arguments: given = {}, id, ...others } = JSON.parse(line);
      asked.push(name + (name === 'block_resize' ? ` ${JSON.stringify(given)}` : ''));
      send({ timestamp: { seconds: 1, microseconds: 2 }, event: 'RTC_CHANGE', data: { offset: 0 } });
      const fail = (desc: string): void => send({ id, error: { class: 'GenericError', desc } });
      const schema = schemas[name];
      if (!schema || Object.keys(others).length > 0) return fail(`unexpected ${name || line}`);
      if (isReady === (name === 'qmp_capabilities')) return fail('capabilities negotiation');
      const wrong = violation(schema, given, 'arguments');
      if (wrong !== undefined) return fail(wrong);
      if (name === 'block_resize' && 'device' in given === 'node-name' in given) return fail('need one name');
      isReady = true;
      try {
        return send({ id, return: execute(name, given) });
      } catch (error) {
        return fail(String(error));
      }
    });
  }, asked);
}

interface Answer {
  readonly status: number;
  readonly body?: unknown;
}

function httpServer(
  answer: (method: string, path: string, body: unknown) => Answer,
  asked: string[],
): Promise<FakeServer> {
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    asked.push(`${request.method} ${request.url}${text && ` ${text}`}`);
    const isJson = text === '' || request.headers['content-type'] === 'application/json';
    const { status, body } = isJson
      ? answer(request.method ?? '', request.url ?? '', text === '' ? undefined : JSON.parse(text))
      : { status: 400, body: undefined };
    response.writeHead(status, body === undefined ? {} : { 'Content-Type': 'application/json' });
    response.end(body === undefined ? undefined : JSON.stringify(body));
  };
  return listen(
    createHttpServer((request, response) => void serve(request, response)),
    asked,
  );
}

/** As Firecracker. */
export function fakeFirecracker(drives: readonly Readonly<Record<string, unknown>>[]): Promise<FakeServer> {
  const fault = (fault_message: string): Answer => ({ status: 400, body: { fault_message } });
  return httpServer((method, path, body) => {
    if (method === 'GET' && path === '/vm/config') return { status: 200, body: { drives } };
    const id = /^\/drives\/(\w+)$/.exec(path)?.[1];
    if (method !== 'PATCH' || id === undefined)
      return fault(`Invalid request method and/or path: ${method} ${path}`);
    const wrong = violation(partialDrive, body);
    if (wrong !== undefined) return fault(wrong);
    const { drive_id, path_on_host } = body as Readonly<Record<string, unknown>>;
    if (drive_id !== id) return fault('The id from the path does not match the id from the body!');
    const drive = drives.find((each) => each['drive_id'] === id);
    if (!drive) return fault('No such drive');
    if (drive['path_on_host'] !== path_on_host) return fault('that would be another disk');
    return { status: 204 };
  }, []);
}

/** As cloud-hypervisor, which sets the size of the file. */
export function fakeCloudHypervisor(
  disks: ReadonlyArray<{ readonly id: string; readonly path: string }>,
): Promise<FakeServer> {
  return httpServer((method, path, body) => {
    if (method === 'GET' && path === '/api/v1/vm.info')
      return { status: 200, body: { config: { payload: {}, disks }, state: 'Running' } };
    if (method !== 'PUT' || path !== '/api/v1/vm.resize-disk') return { status: 404 };
    const wrong = violation(vmResizeDisk, body);
    if (wrong !== undefined) return { status: 400, body: [wrong] };
    const { id, desired_size } = body as { readonly id: string; readonly desired_size: number };
    const disk = disks.find((each) => each.id === id);
    if (!disk) return { status: 404 };
    truncateSync(disk.path, desired_size);
    return { status: 204 };
  }, []);
}
