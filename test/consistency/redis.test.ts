import { chmodSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { scratchDirectory } from '../support/devices.ts';
import { skippedWithout } from '../support/needs.ts';
import { acknowledged } from '../support/ordered-writer.ts';
import { startScript } from '../support/programs.ts';
import { declared, quiesced, scopeOf } from '../support/quiesced.ts';
import { type RedisServer, redisServer, startRedis } from '../support/redis.ts';
import { type Subvolume, subvolume } from '../support/subvolume.ts';

const skipped = skippedWithout(redisServer);

const modes = {
  AOF: ['--appendonly', 'yes', '--appendfsync', 'everysec', '--save', ''],
  RDB: ['--save', '3600 1'],
} as const;

describe.skipIf(skipped !== '')(`Redis${skipped}`, () => {
  let volume: Subvolume;
  let scratch: string;
  let answers: string;

  beforeAll(() => {
    volume = subvolume();
    scratch = scratchDirectory('redis-test');
    answers = join(scratch, 'acknowledged');
  });
  afterAll(() => volume[Symbol.dispose]());

  const start = (name: string, options: readonly string[]): Promise<RedisServer> =>
    startRedis(join(volume.directory, name), options);

  const none = (): void => undefined;

  const isFree = async (server: RedisServer): Promise<void> => {
    expect(await server.ask('SET', 'free', 'yes')).toBe('OK');
  };

  /** What a server that is started on a copy has. */
  async function valuesIn(copy: string, name: string, mode: keyof typeof modes): Promise<number[]> {
    await using started = await startRedis(join(copy, name), modes[mode]);
    return [Number(await started.ask('GET', 'a')), Number(await started.ask('GET', 'b'))];
  }

  test.each(['AOF', 'RDB'] as const)(
    'starts from a snapshot with all that was acknowledged, by %s',
    async (mode) => {
      await using server = await start(mode, modes[mode]);
      await using program = startScript('redis-writer', [server.socket, answers]);
      await program.said('ready');
      let atLeast = 0;
      const text = `redis=${mode},socket=${server.socket}`;
      for (let round = 0; round < 3; round++) {
        const { taken: copy, state } = await quiesced(text, scopeOf(volume), async () => {
          // What the server had answered before may still be on its way to the file.
          await delay(100);
          atLeast = acknowledged(answers);
          await delay(30);
          expect(acknowledged(answers)).toBe(atLeast);
          return volume.snapshot();
        });
        expect(state).toEqual({
          name: 'redis',
          level: 'application',
          recovery: mode === 'AOF' ? 'AOF' : 'none',
          details: { server: expect.stringMatching(/^(Redis|Valkey) \d/), persistence: mode },
        });
        const [a = 0, b = 0] = await valuesIn(copy, mode, mode);
        expect(b).toBeGreaterThanOrEqual(atLeast);
        expect(a - b === 0 || a - b === 1).toBe(true);
        volume.drop(copy);
      }
      await isFree(server);
    },
  );

  test('without it, a snapshot has only the last dump', async () => {
    await using server = await start('control', modes.RDB);
    await using program = startScript('redis-writer', [server.socket, answers]);
    await program.said('ready');
    const copy = volume.snapshot();
    const [a = 0] = await valuesIn(copy, 'control', 'RDB');
    expect(a).toBeLessThan(acknowledged(answers));
    volume.drop(copy);
  });

  test('goes on by itself when who holds it is killed', async () => {
    await using server = await start('killed', modes.AOF);
    const text = `redis=socket=${server.socket},timeout=1`;
    await using child = startScript('quiesce-child', [text, volume.directory, 'hold']);
    await child.said('hold');
    child.child.kill('SIGKILL');
    await child.ended;
    await isFree(server);
  });

  test('a pause that is over too early is no snapshot', async () => {
    await using server = await start('early', modes.AOF);
    const declaration = `redis=socket=${server.socket}`;
    const ended = quiesced(declaration, scopeOf(volume), async () => {
      await server.ask('CLIENT', 'UNPAUSE');
      await isFree(server);
    });
    await expect(ended).rejects.toThrow(/it has taken writes meanwhile/);
    const late = quiesced(`${declaration},timeout=0.2`, scopeOf(volume), () => delay(250));
    await expect(late).rejects.toThrow(/not complete in 0\.2 s/);
    await isFree(server);
  });

  test('a server that hangs, or ends, is left in time', async () => {
    await using server = await start('hangs', modes.AOF);
    const hung = await declared(`redis=socket=${server.socket}`);
    await hung.prepare(scopeOf(volume), new AbortController().signal);
    process.kill(server.pid, 'SIGSTOP');
    await expect(hung.hold(AbortSignal.timeout(200))).rejects.toThrow(/timeout/);
    process.kill(server.pid, 'SIGCONT');
    await hung[Symbol.asyncDispose]();
    const ended = quiesced(`redis=socket=${server.socket},timeout=1`, scopeOf(volume), () => {
      process.kill(server.pid, 'SIGKILL');
    });
    await expect(ended).rejects.toThrow(/has hung up/);
    const gone = quiesced(`redis=socket=${server.socket}`, scopeOf(volume), none);
    await expect(gone).rejects.toThrow(/Could not connect/);
  });

  test('a password comes from a private file', async () => {
    await using server = await start('password', [...modes.AOF, '--requirepass', 'a "b" c']);
    const file = join(scratch, 'password');
    const attempt = (): Promise<unknown> =>
      quiesced(`redis=socket=${server.socket},password-file=${file}`, scopeOf(volume), none);
    const without = quiesced(`redis=socket=${server.socket}`, scopeOf(volume), none);
    await expect(without).rejects.toThrow(/NOAUTH.*password-file=/);
    writeFileSync(file, 'a "b" c\n', { mode: 0o600 });
    await attempt();
    chmodSync(file, 0o604);
    await expect(attempt()).rejects.toThrow(/others could read it/);
    chmodSync(file, 0o600);
    writeFileSync(file, 'wrong');
    await expect(attempt()).rejects.toThrow(/WRONGPASS/);
  });

  test('what could not be in the snapshot is refused', async () => {
    await using server = await start('nothing', ['--save', '']);
    const attempt = (text: string, directory = volume.directory): Promise<unknown> =>
      quiesced(`redis=${text}`, scopeOf({ directory }), none);
    await expect(attempt(`socket=${server.socket}`)).rejects.toThrow(/keeps nothing on disk/);
    await using other = await start('other', [...modes.AOF, '--port', '0']);
    await expect(attempt(`socket=${other.socket}`, scratch)).rejects.toThrow(/not in the volume app/);
    await expect(attempt(`nothing,socket=${other.socket}`)).rejects.toThrow(
      /not the directory of the server/,
    );
    await other.ask('REPLICAOF', '127.0.0.1', '1');
    await expect(attempt(`socket=${other.socket}`)).rejects.toThrow(/is a replica/);
  });

  test('what is no Redis is told so', async () => {
    const server = createServer((socket) =>
      socket.on('error', none).resume().end('HTTP/1.1 400 Bad Request\r\n\r\n'),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : 0;
    const refused = quiesced(`redis=host=127.0.0.1:${port}`, scopeOf(volume), none);
    await expect(refused).rejects.toThrow(/is it a Redis server\?/);
    await new Promise((resolve) => server.close(resolve));
  });

  test('answers over TCP', async () => {
    const port = String(20_000 + (process.pid % 20_000));
    await using _server = await start('tcp', [...modes.AOF, '--bind', '127.0.0.1', '--port', port]);
    await quiesced(`redis=tcp,host=localhost:${port}`, scopeOf(volume), none);
    await quiesced(`redis=host=127.0.0.1:${port}`, scopeOf(volume), none);
  });

  test.each(['data', 'socket=x', 'host=a:b', 'host=1.2.3.4', 'socket=/a,host=127.0.0.1:1', '../a,socket=/b'])(
    'can not be declared by "%s"',
    async (value) => {
      await expect(declared(`redis=${value}`)).rejects.toThrow(/quiesce\.redis can't be used/);
    },
  );
});
