import '../support/shifted-clock.ts';
import childProcess from 'node:child_process';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { mayChange } from './changing.ts';

/**
 * One process of a crash test: it does what the request in its first argument says, and dies, waits or only counts at each step.
 * A step is a system call of the linux layer, or one of Node's own calls that change something or start a program.
 */
export interface ChildRequest {
  readonly pool: string;
  /** A method of the pool, or a function of the library that takes no open pool; `open` only opens the pool, which sweeps it. */
  readonly call: readonly [method: string, ...args: unknown[]];
  /** Dies before this step, counted from 1. */
  readonly dieAt?: number;
  /** A pattern of the steps that are counted, all when absent: those that look at other processes are now more, now fewer. */
  readonly counts?: string;
  /** Says each step on standard output and waits for one byte on standard input. */
  readonly pause?: boolean;
  /** Runs operations in worker threads. */
  readonly workers?: boolean;
  /** For several calls at once: all of them are started together, and each says that it is done. */
  readonly together?: ReadonlyArray<readonly [method: string, ...args: unknown[]]>;
  /** Says the progress of long operations. */
  readonly progress?: boolean;
}

/** What the process prints, one JSON line each. */
export type ChildMessage =
  | { readonly step: string }
  | { readonly started: true }
  | { readonly done: number }
  | { readonly progress: { readonly step: string; readonly fraction: number } }
  | { readonly result: unknown; readonly steps: readonly string[]; readonly changing: readonly number[] }
  | { readonly error: { readonly code: unknown; readonly message: string; readonly stack: unknown } };

const fileCalls = [
  'openSync',
  'writeSync',
  'write',
  'fsyncSync',
  'ftruncateSync',
  'renameSync',
  'unlinkSync',
  'rmdirSync',
  'mkdirSync',
  'fchmodSync',
  'fchownSync',
] as const;
const processCalls = ['spawn', 'spawnSync'] as const;

const request = JSON.parse(process.argv[2] ?? '') as ChildRequest;
const steps: string[] = [];
/** The steps that may change something that outlives this process, counted from 1. */
const changing: number[] = [];
let watching = false;

function step(name: string, subject: unknown, values: readonly unknown[]): undefined {
  if (!watching) return;
  const text = `${name} ${String(subject)}`;
  if (request.counts !== undefined && !new RegExp(request.counts).test(text)) return;
  steps.push(text);
  if (mayChange(name, String(subject), values)) changing.push(steps.length);
  if (request.dieAt === steps.length) process.kill(process.pid, 'SIGKILL');
  if (!request.pause) return;
  watching = false; // saying so is no step
  say({ step: steps.at(-1) ?? '' });
  fs.readSync(0, Buffer.alloc(1));
  watching = true;
}

function say(message: ChildMessage): void {
  const [before, line] = [watching, Buffer.from(`${JSON.stringify(message)}\n`)];
  watching = false;
  for (let at = 0; at < line.length; ) at += fs.writeSync(1, line, at);
  watching = before;
}

/** Has every call of Node's own counted too; named imports follow after `syncBuiltinESMExports`. */
function watch(module: object, names: readonly string[]): void {
  const functions = module as Record<string, (...args: unknown[]) => unknown>;
  for (const name of names) {
    const original = functions[name];
    if (!original) continue;
    functions[name] = (...args) => {
      step(name, args[0], args);
      return original.apply(module, args);
    };
  }
}

async function perform(): Promise<unknown> {
  // Only now: modules keep what they import from Node when they are loaded.
  const library = await import('../../src/index.ts');
  const { observeCalls } = await import('../../src/linux/system-calls.ts');
  observeCalls(step);
  const [method, ...args] = request.call;
  if (method in library) {
    watching = true;
    return (library as unknown as Record<string, (...values: unknown[]) => unknown>)[method]?.(...args);
  }
  watching = method === 'open';
  const pool = await library.openPool(request.pool, {
    inline: !request.workers,
    lockTimeout: Number.POSITIVE_INFINITY,
  });
  watching = true;
  const methods = pool as unknown as Record<string, (...values: unknown[]) => Promise<unknown>>;
  if (request.together) {
    say({ started: true });
    await Promise.all(
      request.together.map(async ([name, ...values], index) => {
        await methods[name]?.(...values);
        say({ done: index });
      }),
    );
  }
  if (request.progress)
    Object.assign(args.at(-1) as object, { onProgress: (progress: never) => say({ progress }) });
  const result = method === 'open' ? undefined : await methods[method]?.(...args);
  watching = false;
  await pool.close();
  return result;
}

watch(fs, fileCalls);
watch(childProcess, processCalls);
syncBuiltinESMExports();
try {
  const result = await perform();
  watching = false;
  say({ result: result ?? null, steps, changing });
} catch (error) {
  watching = false;
  const { code, message, stack } = error as Error & { code?: unknown };
  say({ error: { code, message, stack } });
  process.exitCode = 1;
}
