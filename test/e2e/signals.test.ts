import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Descriptor } from '../../src/linux/files.ts';
import { lock } from '../../src/linux/locks.ts';
import { runProgram } from '../../src/linux/programs.ts';
import { builtCommand } from '../support/built.ts';
import { writePattern } from '../support/content.ts';
import { scratchDirectory, sparseFile } from '../support/devices.ts';
import { coppice, onTerminal } from './command.ts';

const MiB = 2 ** 20;
const script = existsSync('/usr/bin/script');
const unlessScript = script ? '' : ' (skipped: no script(1) to make a terminal)';

let pool = '';
let image = '';

beforeAll(() => {
  const directory = scratchDirectory('signals');
  pool = join(directory, 'pool');
  image = sparseFile(256 * MiB, join(directory, 'image.raw'));
  writePattern(image, 1, 0, 192 * MiB);
  expect(coppice(pool, 'pool', 'create', '--size', '8G').code).toBe(0);
  expect(coppice(pool, 'create', 'v', '--size', '1M').code).toBe(0);
});

afterAll(() => {
  if (existsSync(join(pool, 'volumes'))) runProgram('umount', ['--', pool]);
});

describe('a command that waits for another one', () => {
  test.each([
    ['import', () => ({ blocker: join(pool, '.staging'), opens: image, args: ['import', 't', image] })],
    ['clone', () => ({ blocker: volume(), opens: pool, args: ['clone', 'v', 'w'] })],
    ['remove', () => ({ blocker: volume(), opens: pool, args: ['remove', 'v'] })],
  ])('%s: ends when it is told to, with nothing left behind', async (_, how) => {
    const { blocker, opens, args } = how();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      using _lock = locked(blocker);
      const child = start(...args);
      await untilOpen(child, opens);
      child.kill(signal);
      const [code, killedBy] = (await once(child, 'close')) as [number | null, string | null];
      expect(code ?? killedBy).toBeOneOf([130, signal]);
      expect(readdirSync(join(pool, '.staging'))).toEqual([]);
    }
    expect(readdirSync(join(pool, 'volumes'))).toEqual(['v']);
  });

  test.skipIf(!script)(`says so on a terminal${unlessScript}, where Ctrl-C ends it`, async () => {
    using _lock = locked(join(pool, '.staging'));
    const { code, screen } = await onTerminal(pool, `coppice import t ${image}`, 'waiting', '\x03');
    expect(screen).toContain('coppice: The import of t was cancelled while it waited for another operation');
    expect(code).toBe(130);
  });
});

test.skipIf(!script)(`Ctrl-C on a terminal ends qemu-img with the import${unlessScript}`, async () => {
  const qcow2 = `${image}.qcow2`;
  runProgram('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', image, qcow2]);
  const { code, screen } = await onTerminal(pool, `coppice import t ${qcow2}`, 'copying', '\x03');
  expect(screen).toContain('coppice: The import of t was cancelled; nothing of it is left.');
  expect(code).toBe(130);
  expect(readdirSync(join(pool, '.staging'))).toEqual([]);
  // Nothing has a file of the pool open any more.
  runProgram('umount', ['--', pool]);
  expect(coppice(pool, 'pool', 'create').code).toBe(0);
});

describe('clone --count that is told to end', () => {
  test.each(['SIGINT', 'SIGTERM'] as const)('by %s says what it has made, which stays', async (signal) => {
    const child = start('clone', 'v', signal, '--count', '100000');
    const output = outputOf(child);
    while (!existsSync(join(pool, 'volumes', `${signal}-30`))) await new Promise((go) => setTimeout(go, 5));
    child.kill(signal);
    const [code] = (await once(child, 'close')) as [number | null];
    const { stdout, stderr } = output();
    const made = readdirSync(join(pool, 'volumes')).filter((name) => name.startsWith(signal)).length;
    expect(stdout).toBe(`Cloned v to ${made} volumes: ${signal}-1 to ${signal}-${made}.\n`);
    expect(stderr).toBe(`coppice: Cancelled: ${100000 - made} of 100000 clones were not made.\n`);
    expect(code).toBe(130);
    expect(readdirSync(join(pool, '.staging'))).toEqual([]);
  });

  test('says so in JSON too', async () => {
    const child = start('clone', 'v', 'json', '--count', '100000', '--json');
    const output = outputOf(child);
    while (!existsSync(join(pool, 'volumes', 'json-30'))) await new Promise((go) => setTimeout(go, 5));
    child.kill('SIGINT');
    const [code] = (await once(child, 'close')) as [number | null];
    const { stdout, stderr } = output();
    const { cloned, failed, cancelled } = JSON.parse(stdout);
    const made = readdirSync(join(pool, 'volumes')).filter((name) => name.startsWith('json'));
    expect([cloned.length, failed, cancelled, stderr, code]).toEqual([made.length, [], true, '', 130]);
  });
});

/** A lock as another process has it. */
function locked(path: string): Disposable {
  const held = new Descriptor(openSync(path, 'r'));
  lock(held.fd, 'exclusive', true);
  return held;
}

function start(...args: string[]): ChildProcess {
  return spawn(process.execPath, [builtCommand(), ...args], {
    env: { PATH: process.env['PATH'], COPPICE_POOL: pool },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

function outputOf(child: ChildProcess): () => { stdout: string; stderr: string } {
  const chunks = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name]?.setEncoding('utf8').on('data', (chunk: string) => {
      chunks[name] += chunk;
    });
  return () => chunks;
}

function volume(): string {
  return join(pool, 'volumes', 'v');
}

/** Waits until a process has opened something, which it does just before it needs the lock. */
async function untilOpen({ pid }: ChildProcess, path: string): Promise<void> {
  const open = (): string[] =>
    readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
      } catch {
        return []; // closed meanwhile
      }
    });
  while (!open().includes(path)) await new Promise((resolve) => setTimeout(resolve, 5));
}
