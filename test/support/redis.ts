import { spawn } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { RedisConnection } from '../../src/consistency/redis/connection.ts';
import type { Reply } from '../../src/consistency/redis/replies.ts';
import { scratchDirectory } from './devices.ts';

export const redisServer = '/usr/bin/redis-server';

export interface RedisServer extends AsyncDisposable {
  readonly pid: number;
  readonly socket: string;
  ask(...words: readonly string[]): Promise<Reply>;
}

/** Starts a server on a directory, which is made when it is not there, and waits until it answers. */
export async function startRedis(data: string, options: readonly string[] = []): Promise<RedisServer> {
  mkdirSync(data, { recursive: true });
  const socket = join(scratchDirectory('redis'), 'socket');
  const child = spawn(
    redisServer,
    ['--port', '0', '--unixsocket', socket, '--unixsocketperm', '700', '--dir', data, ...options],
    { stdio: 'ignore' },
  );
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  const server: RedisServer = {
    pid: child.pid ?? 0,
    socket,
    async ask(...words) {
      using connection = new RedisConnection(connect(socket));
      return await connection.ask(AbortSignal.timeout(20_000), ...words);
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await ended;
    },
  };
  for (;;) {
    if (child.exitCode !== null) throw new Error('Redis did not start');
    if (existsSync(socket) && /^loading:0|NOAUTH/m.test(await infoOf(server))) return server;
    await delay(20);
  }
}

async function infoOf(server: RedisServer): Promise<string> {
  try {
    return String(await server.ask('INFO'));
  } catch (error) {
    return String(error);
  }
}
