import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { CoppiceError, type ErrorData, type Pool } from '../../src/index.ts';
import { actorPrograms } from './actor-programs.ts';
import { dieAtVariable } from './dying.ts';
import type { PerformingPool } from './perform.ts';

/** The command was killed. */
export class Died extends Error {}

/**
 * A pool as the command line gives it: each method is a process.
 * @param pool for what only the library can do, and for where disks lie
 */
export function commandPool(pool: Pool, environment: () => NodeJS.ProcessEnv): PerformingPool {
  const run = (...args: readonly string[]): Promise<unknown> => runCommand(pool.path, args, environment());
  const flags = (options: object): string[] =>
    Object.entries(options).flatMap(([name, value]) => {
      const flag = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
      return value === true ? [flag] : value === false ? [] : [flag, String(value)];
    });
  const list = (references: string | readonly string[]): readonly string[] =>
    typeof references === 'string' ? [references] : references;
  return {
    create: (name, { kind, bytes = 0 }) =>
      run('create', name, ...(kind === 'tree' ? ['--kind', kind] : ['--size', kibibytes(bytes)])),
    clone: (source, name) => run('clone', source, name),
    seal: (source, name) => run('seal', source, name),
    rename: (from, to) => run('rename', from, to),
    grow: (name, { bytes }) => run('grow', name, kibibytes(bytes)),
    snapshot: (references, options = {}) => run('snapshot', ...list(references), ...flags(options)),
    rollback: (reference) => run('rollback', reference),
    remove: (references, options = {}) => run('remove', ...list(references), ...flags(options)),
    import: (name, file) => run('import', name, file),
    export: (source, file) => run('export', source, file),
    diskPath: (reference) => pool.diskPath(reference),
    sync: () => pool.sync(),
  } as PerformingPool;
}

function kibibytes(bytes: number): string {
  return `${bytes / 1024}K`;
}

async function runCommand(
  pool: string,
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
): Promise<unknown> {
  const child = spawn(process.execPath, [join(actorPrograms(), 'command.js'), ...args, '--json'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment, COPPICE_POOL: pool },
    cwd: '/',
  });
  const text = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const)
    child[stream].on('data', (chunk: Buffer) => {
      text[stream] += chunk;
    });
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  if (signal === 'SIGKILL' && environment[dieAtVariable] !== undefined) throw new Died();
  if (code === 0) return JSON.parse(text.stdout) as unknown;
  const line = text.stderr.split('\n').find((each) => each.startsWith('{"error"'));
  if (line === undefined) throw new Error(`coppice ${args.join(' ')}: ${signal ?? code} ${text.stderr}`);
  const { error } = JSON.parse(line) as { error: ErrorData };
  throw new CoppiceError(error.code, error.message);
}
