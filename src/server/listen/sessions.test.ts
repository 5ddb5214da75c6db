import { once } from 'node:events';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  createServer,
  type Http2Server,
} from 'node:http2';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Sessions } from './sessions.ts';

const look = 100;
const longest = 10_000;
let server: Http2Server;
let client: ClientHttp2Session;

beforeEach(async () => {
  server = createServer((request, response) => {
    request.resume();
    request.on('end', () => {
      if (request.url === '/large') response.end(Buffer.alloc(2 ** 20));
      else setTimeout(() => response.end('done'), 6 * look);
    });
  });
  new Sessions(server, server, look);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  client = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  client.on('error', () => {});
});
afterEach(() => {
  client.destroy();
  server.close();
});

function post(path: string): ClientHttp2Stream {
  const stream = client.request({ ':method': 'POST', ':path': path });
  stream.on('error', () => {});
  return stream;
}

test('who does nothing is ended', async () => {
  await once(client, 'close', { signal: AbortSignal.timeout(longest) });
});

test('who does not end a request is ended, and the others of the connection go on', async () => {
  const unfinished = post('/work');
  unfinished.write('begun');
  const working = post('/work');
  working.end();
  working.resume();
  await once(unfinished, 'close', { signal: AbortSignal.timeout(longest) });
  await once(working, 'end', { signal: AbortSignal.timeout(longest) });
});

test('who does not read an answer is ended; who is slow is not', async () => {
  const unread = post('/large');
  unread.end();
  unread.pause();
  const slow = post('/large');
  slow.end();
  let bytes = 0;
  const reading = (async () => {
    for await (const chunk of slow) {
      bytes += (chunk as Buffer).length;
      await pause(1);
    }
  })();
  await once(unread, 'close', { signal: AbortSignal.timeout(longest) });
  await reading;
  expect([bytes, unread.rstCode]).toEqual([2 ** 20, 8]);
});

test('work that takes long is waited for', async () => {
  const stream = post('/work');
  stream.end();
  let text = '';
  for await (const chunk of stream.setEncoding('utf8')) text += chunk;
  expect(text).toBe('done');
});
